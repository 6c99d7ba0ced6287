// One socket under a developer's eyes: nothing is hidden, nothing is sent unasked but pings. Room: pages; knows no DOM.
//
// The dashboards' Connection speaks only with servers that say welcome and comes back by itself. The console also talks
// to paths where none does, shows every frame with its bytes, and stays closed when it is closed, so it has a socket of its own.

import { waitMilliseconds } from "../../client/backoff.js";
import { Clock } from "../../client/clock.js";
import { mayReturn } from "../../client/close_codes.js";

/** As often as the dashboards do; enough to follow the server's clock. */
const PING_MS = 10_000;

const encoder = new TextEncoder();

/**
 * @typedef {object} Frame
 * @property {"in" | "out"} direction
 * @property {string} text
 * @property {number} bytes size as UTF-8
 * @property {number} atMs local time
 * @property {object | null} message the JSON object in it, or null when it holds none
 * @property {boolean} binary
 * @property {boolean} automatic sent by a timer, not by a person
 *
 * @typedef {object} Closing
 * @property {number} code
 * @property {string} reason as the server gave it
 * @property {boolean} wasOpen whether there was a connection before
 * @property {boolean} byUs whether a person pressed Disconnect
 *
 * @typedef {object} SessionState
 * @property {"idle" | "connecting" | "open" | "live" | "waiting" | "closed"} name `open` lacks the welcome of `live`
 * @property {number | null} retryAtMs local time of the next attempt, while waiting
 * @property {Closing | null} closing how the last connection ended
 * @property {string} problem why the browser refused the address; empty otherwise
 */

/** Events, by `on(name, listener)`: `state` (SessionState), `frame` (Frame), `pong` (round trip in milliseconds). */
export class Session {
  #listeners = new Map();
  #socket = null;
  #retryTimer = null;
  #pingTimer = null;
  #pings = [];
  #tries = 0;
  #connectingAtMs = 0;

  constructor() {
    this.url = "";
    this.clock = new Clock();
    this.autoReconnect = false;
    this.autoPing = true;
    /** @type {object | null} the welcome of the connection that is open */
    this.welcome = null;
    this.openedAtMs = null;
    /** @type {SessionState} */
    this.state = { name: "idle", retryAtMs: null, closing: null, problem: "" };
  }

  /** @returns {boolean} whether text can be sent */
  get isOpen() {
    return this.state.name === "open" || this.state.name === "live";
  }

  /** @returns {boolean} whether there is, or soon will be, a connection */
  get isActive() {
    return this.isOpen || this.state.name === "connecting" || this.state.name === "waiting";
  }

  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /** @param {string} url */
  connect(url) {
    this.#tries = 0;
    this.#open(url);
  }

  disconnect() {
    const wasOpen = this.isOpen;
    const wasActive = this.isActive;
    this.#release();
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
    const message = readObject(text);
    if (message?.type === "ping") this.#pings.push({ ref: message.ref, atMs });
    if (this.#pings.length > 50) this.#pings.shift();
    this.#socket.send(text);
    const bytes = encoder.encode(text).length;
    this.#emit("frame", { direction: "out", text, bytes, atMs, message, binary: false, automatic });
    return true;
  }

  /** @param {boolean} on ping every ten seconds while connected to a server that said welcome */
  setAutoPing(on) {
    this.autoPing = on;
    clearTimeout(this.#pingTimer);
    if (on && this.state.name === "live") this.#pingRepeatedly();
  }

  #open(url) {
    this.#release();
    this.url = url;
    this.#connectingAtMs = this.clock.localNow();
    let socket;
    try {
      // The Content-Security-Policy refuses other hosts, and does not tell why.
      if (new URL(url, location.href).host !== location.host) throw new Error(`only this site’s own server, ${location.host}, is allowed`);
      socket = new WebSocket(url);
    } catch (error) {
      // The browser throws for an address that can never work.
      this.#setState({ name: "closed", problem: error.message });
      return;
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#setState({ name: "connecting" });
    socket.onopen = () => {
      this.openedAtMs = this.clock.localNow();
      this.#setState({ name: "open" });
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event.code, event.reason);
  }

  #receive(data) {
    const atMs = this.clock.localNow();
    const binary = typeof data !== "string";
    const text = binary ? `binary, ${data.byteLength} bytes` : data;
    const bytes = binary ? data.byteLength : encoder.encode(data).length;
    const message = binary ? null : readObject(data);
    const isWelcome = message?.type === "welcome" && this.state.name === "open";
    if (isWelcome) this.#greet(message, atMs);
    this.#emit("frame", { direction: "in", text, bytes, atMs, message, binary, automatic: false });
    if (message?.type === "pong") this.#takePong(message, atMs);
    if (isWelcome) this.#setState({ name: "live" });
    if (isWelcome && this.autoPing) this.#pingRepeatedly();
  }

  #greet(message, atMs) {
    this.welcome = message;
    this.#tries = 0;
    // Until the first pong, the whole connect counts as a slow round trip.
    this.clock.reset();
    this.clock.addSample(this.#connectingAtMs, message.timestamp, atMs);
  }

  #takePong(message, atMs) {
    // Replies come in the order of their questions; a ref makes sure.
    const place = message.ref === undefined ? 0 : this.#pings.findIndex((ping) => ping.ref === message.ref);
    if (place < 0 || place >= this.#pings.length) return;
    const [ping] = this.#pings.splice(0, place + 1).slice(-1);
    this.clock.addSample(ping.atMs, message.timestamp, atMs);
    this.#emit("pong", atMs - ping.atMs);
  }

  #pingRepeatedly() {
    this.sendText('{"type":"ping"}', { automatic: true });
    this.#pingTimer = setTimeout(() => this.#pingRepeatedly(), PING_MS);
  }

  #closed(code, reason) {
    const closing = { code, reason, wasOpen: this.isOpen, byUs: false };
    const { url } = this;
    this.#release();
    if (!this.autoReconnect || !mayReturn(code)) {
      this.#setState({ name: "closed", closing });
      return;
    }
    this.#tries += 1;
    const milliseconds = waitMilliseconds(this.#tries);
    this.#retryTimer = setTimeout(() => this.#open(url), milliseconds);
    this.#setState({ name: "waiting", closing, retryAtMs: this.clock.localNow() + milliseconds });
  }

  #release() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#pingTimer);
    this.#pings = [];
    this.welcome = null;
    this.openedAtMs = null;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }

  #setState(state) {
    this.state = { retryAtMs: null, closing: null, problem: "", ...state };
    this.#emit("state", this.state);
  }

  #emit(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) listener(value);
  }
}

/** @param {string} text @returns {object | null} */
export function readObject(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
