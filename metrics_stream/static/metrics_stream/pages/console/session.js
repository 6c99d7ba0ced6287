// The console's client: it hides no frame and sends nothing by itself but pings.
//
// It uses the same socket and pings as the dashboards' Connection. Unlike a Connection it can send before a welcome, as
// other servers send none, it waits for a silent server without end, and it reconnects only where that is switched on.

import { mayReturn } from "../../client/close_codes.js";
import { Emitter } from "../../client/emitter.js";
import { parseObject } from "../../client/json_object.js";
import { Pings } from "../../client/pings.js";
import { BROWSER_TIMERS, ReconnectingSocket } from "../../client/reconnecting_socket.js";

const encoder = new TextEncoder();

/**
 * @typedef {object} Frame
 * @property {"in" | "out"} direction
 * @property {string} text
 * @property {number} bytes the size in UTF-8
 * @property {number} atMs local time
 * @property {object | null} message its JSON object; null without one
 * @property {boolean} binary
 * @property {boolean} automatic sent by a timer, not by a person
 *
 * @typedef {object} Closing
 * @property {number} code
 * @property {string} reason as the server gave it
 * @property {boolean} wasOpen whether the connection had been open
 * @property {boolean} byUs whether the person closed it
 *
 * @typedef {object} SessionState
 * @property {"idle" | "connecting" | "open" | "live" | "waiting" | "closed"} name `open` lacks the welcome of `live`
 * @property {number | null} retryAtMs local time of the next attempt, while waiting
 * @property {Closing | null} closing how the last connection ended
 * @property {string} problem why the browser refused the address; else empty
 */

/** Events, by `on(name, listener)`: `state` (SessionState), `frame` (Frame), `pong` (round trip in milliseconds). */
export class Session {
  #emitter = new Emitter();
  #pings = new Pings({ timers: BROWSER_TIMERS, localNow: Date.now });
  #socket = new ReconnectingSocket({
    timers: BROWSER_TIMERS,
    localNow: Date.now,
    random: Math.random,
    connectTimeoutMs: null,
    openSocket: () => this.#open(),
    mayReconnect: (code) => this.autoReconnect && mayReturn(code),
    onState: (state) => this.#handleSocketState(state),
    onMessage: (data) => this.#receive(data),
  });

  constructor() {
    this.url = "";
    this.autoReconnect = false;
    this.autoPing = true;
    /** @type {object | null} the welcome of the connection that is open */
    this.welcome = null;
    this.openedAtMs = null;
    /** @type {SessionState} */
    this.state = { name: "idle", retryAtMs: null, closing: null, problem: "" };
  }

  /** @returns {Clock} the server's clock */
  get clock() {
    return this.#pings.clock;
  }

  /** @returns {boolean} whether text can be sent */
  get isOpen() {
    return this.state.name === "open" || this.state.name === "live";
  }

  /** @returns {boolean} whether there is a connection, or there soon will be */
  get isActive() {
    return this.isOpen || this.state.name === "connecting" || this.state.name === "waiting";
  }

  /**
   * @param {"state" | "frame" | "pong"} name
   * @param {(value: any) => void} listener
   * @returns {() => void} removes the listener
   */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  /** @param {string} url */
  connect(url) {
    this.url = url;
    this.#socket.start();
  }

  disconnect() {
    const { isOpen: wasOpen, isActive: wasActive } = this;
    this.#socket.stop();
    this.#forgetServer();
    if (!wasActive) return;
    this.#setState({ name: "closed", closing: { code: 1000, reason: "", wasOpen, byUs: true } });
  }

  /**
   * @param {string} text sent as it is
   * @param {{automatic?: boolean}} [options]
   * @returns {boolean} false when there is no connection
   */
  sendText(text, { automatic = false } = {}) {
    if (!this.isOpen) return false;
    const atMs = this.clock.localNow();
    const message = parseObject(text);
    if (message?.type === "ping") this.#pings.sent(message.ref);
    this.#socket.send(text);
    const bytes = encoder.encode(text).length;
    this.#emitter.emit("frame", { direction: "out", text, bytes, atMs, message, binary: false, automatic });
    return true;
  }

  /** @param {boolean} on whether to ping every ten seconds after a welcome */
  setAutoPing(on) {
    this.autoPing = on;
    this.#pings.pause();
    if (on && this.state.name === "live") this.#startPings();
  }

  #open() {
    this.#forgetServer();
    this.#pings.connecting();
    // The Content-Security-Policy refuses other hosts, but does not say so.
    if (new URL(this.url, location.href).host !== location.host)
      throw new Error(`only this site’s own server, ${location.host}, is allowed`);
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    return socket;
  }

  #handleSocketState({ name, retryAtMs, ending, problem }) {
    if (name === "connecting") {
      this.#setState({ name });
    } else if (name === "open") {
      this.openedAtMs = this.clock.localNow();
      this.#setState({ name });
    } else {
      this.#forgetServer();
      const closing = ending && { code: ending.code, reason: ending.reason, wasOpen: ending.wasOpen, byUs: false };
      this.#setState({ name, closing, problem, retryAtMs });
    }
  }

  #receive(data) {
    const atMs = this.clock.localNow();
    const binary = typeof data !== "string";
    const text = binary ? `binary, ${data.byteLength} bytes` : data;
    const bytes = binary ? data.byteLength : encoder.encode(data).length;
    const message = binary ? null : parseObject(data);
    const isWelcome = message?.type === "welcome" && this.state.name === "open";
    if (isWelcome) {
      this.welcome = message;
      this.#socket.confirm();
      this.#pings.welcome(message.timestamp, atMs);
    }
    this.#emitter.emit("frame", { direction: "in", text, bytes, atMs, message, binary, automatic: false });
    if (message?.type === "pong") {
      const roundTripMs = this.#pings.pong(message, atMs);
      if (roundTripMs !== null) this.#emitter.emit("pong", roundTripMs);
    }
    if (isWelcome) this.#setState({ name: "live" });
    if (isWelcome && this.autoPing) this.#startPings();
  }

  #startPings() {
    this.#pings.repeat(() => this.sendText('{"type":"ping"}', { automatic: true }));
  }

  #forgetServer() {
    this.#pings.stop();
    this.welcome = null;
    this.openedAtMs = null;
  }

  #setState(state) {
    this.state = { retryAtMs: null, closing: null, problem: "", ...state };
    this.#emitter.emit("state", this.state);
  }
}
