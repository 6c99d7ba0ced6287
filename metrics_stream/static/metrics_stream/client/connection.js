// One WebSocket connection that comes back: states, back-off, pings, and wishes sent again after every reconnect.
// Room: client. Knows no DOM; socket, timers, clock and chance are passed in by tests.

import { waitMilliseconds } from "./backoff.js";
import { Clock } from "./clock.js";
import { describeClose, mayReturn } from "./closing.js";

/** Ten seconds: often enough for the clock and for finding a dead line, rare enough to cost nothing. */
export const PING_MS = 10_000;

/** A server that is silent for this long after a ping is taken for gone; a half-open line would stay "live" for hours. */
export const PONG_TIMEOUT_MS = 10_000;

/** How long a connect may take; a browser alone would wait for minutes. */
export const CONNECT_TIMEOUT_MS = 10_000;

/**
 * @typedef {object} ConnectionState
 * @property {"connecting" | "live" | "waiting" | "stopped"} name
 * @property {string} reason why it is so, in words; empty while connecting for the first time and while live
 * @property {number | null} retryAtMs local time of the next attempt, while waiting
 * @property {number} tries attempts that failed since the connection was last live
 * @property {number | null} closeCode the code of the last close
 *
 * @typedef {object} ConnectionOptions
 * @property {(url: string) => WebSocket} [openSocket]
 * @property {{setTimeout: Function, clearTimeout: Function}} [timers]
 * @property {() => number} [localNow] milliseconds since the epoch
 * @property {() => number} [random] a number from 0 up to 1
 * @property {boolean} [liveOnOpen] be live as soon as the socket is open, for servers that send no `welcome`
 */

/**
 * Events, by `on(name, listener)`:
 * `state` (ConnectionState), `message` (object), `text` (string as received), `sent` (string as sent),
 * `pong` (round trip in milliseconds), `invalid` (string that is no JSON object).
 */
export class Connection {
  #listeners = new Map();
  #socket = null;
  #retryTimer = null;
  #pingTimer = null;
  #deadlineTimer = null;
  #pingSentAtMs = null;
  #connectingAtMs = 0;
  #lastError = "";
  // The wishes, as they are sent again after each welcome.
  #subscribed = new Set();
  #unsubscribed = new Set();
  #wishes = new Map();

  /**
   * @param {string} url ws: or wss:
   * @param {ConnectionOptions} [options]
   */
  constructor(url, options = {}) {
    this.url = url;
    this.openSocket = options.openSocket ?? ((address) => new WebSocket(address));
    this.timers = options.timers ?? {
      setTimeout: (callback, milliseconds) => globalThis.setTimeout(callback, milliseconds),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
    };
    this.localNow = options.localNow ?? Date.now;
    this.random = options.random ?? Math.random;
    this.liveOnOpen = options.liveOnOpen ?? false;
    this.clock = new Clock(this.localNow);
    /** @type {object | null} the newest welcome */
    this.welcome = null;
    /** @type {ConnectionState} */
    this.state = { name: "stopped", reason: "not started", retryAtMs: null, tries: 0, closeCode: null };
  }

  /**
   * @param {"state" | "message" | "text" | "sent" | "pong" | "invalid"} name
   * @param {(value: any) => void} listener
   * @returns {() => void} removes the listener
   */
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /** Connect, and stay connected until stop(). */
  start() {
    if (this.state.name === "connecting" || this.state.name === "live") return;
    this.#connect(0, "");
  }

  /**
   * Close, and stay closed until start().
   *
   * @param {string} [reason] why, in words
   */
  stop(reason = "closed by this page") {
    this.#release(1000);
    this.#setState({ name: "stopped", reason, retryAtMs: null, tries: 0, closeCode: null });
  }

  /** While waiting, try at once: the network came back, or a person pressed the button. */
  retryNow() {
    if (this.state.name === "waiting") this.#connect(this.state.tries, this.state.reason);
  }

  /** @param {string[]} metricTypes asked for now and after each reconnect */
  subscribe(metricTypes) {
    if (metricTypes.includes("all")) this.#unsubscribed.clear();
    for (const slug of metricTypes) {
      this.#subscribed.add(slug);
      this.#unsubscribed.delete(slug);
    }
    this.send({ type: "subscribe", metric_types: metricTypes });
  }

  /** @param {string[]} metricTypes */
  unsubscribe(metricTypes) {
    if (metricTypes.includes("all")) {
      this.#subscribed.clear();
      this.#unsubscribed.clear();
    }
    for (const slug of metricTypes) {
      this.#subscribed.delete(slug);
      this.#unsubscribed.add(slug);
    }
    this.send({ type: "unsubscribe", metric_types: metricTypes });
  }

  /** @param {{agent_ids?: string[], fields?: string[], sources?: string[]}} filters `{}` clears */
  setFilters(filters) {
    this.#wish({ type: "set_filters", filters });
  }

  /** @param {number} seconds */
  setUpdateInterval(seconds) {
    this.#wish({ type: "set_update_interval", interval_seconds: seconds });
  }

  /** @param {{batch_size?: number, batch_timeout_seconds?: number, mode?: "all" | "latest"}} batching */
  setBatching(batching) {
    this.#wish({ type: "set_batching", ...batching });
  }

  /** Ask for the server's time; the answer feeds the clock. */
  ping() {
    // One ping at a time, or a late pong would be matched with a younger ping and bend the clock.
    const waitedMs = this.#pingSentAtMs === null ? Infinity : this.localNow() - this.#pingSentAtMs;
    if (waitedMs < 3 * PONG_TIMEOUT_MS) return;
    if (!this.send({ type: "ping" })) return;
    this.#pingSentAtMs = this.localNow();
    this.#expectWithin(PONG_TIMEOUT_MS, "the server does not answer");
  }

  /**
   * @param {object} message
   * @returns {boolean} whether it could be sent; wishes that could not are sent after the next welcome
   */
  send(message) {
    return this.sendText(JSON.stringify(message));
  }

  /**
   * @param {string} text sent as it is
   * @returns {boolean}
   */
  sendText(text) {
    if (this.state.name !== "live" || this.#socket === null) return false;
    this.#socket.send(text);
    this.#emit("sent", text);
    return true;
  }

  #wish(message) {
    this.#wishes.set(message.type, { ...this.#wishes.get(message.type), ...message });
    this.send(message);
  }

  #connect(tries, reason) {
    this.#release(1000);
    this.#lastError = "";
    this.#connectingAtMs = this.localNow();
    this.#setState({ name: "connecting", reason, retryAtMs: null, tries, closeCode: this.state.closeCode });
    let socket;
    try {
      socket = this.openSocket(this.url);
    } catch (error) {
      // The browser throws for an address that can never work (SyntaxError, or ws: on a secure page).
      this.#setState({ name: "stopped", reason: error.message, retryAtMs: null, tries, closeCode: null });
      return;
    }
    this.#socket = socket;
    this.#expectWithin(CONNECT_TIMEOUT_MS, "the server does not answer");
    socket.onopen = () => {
      if (this.liveOnOpen) this.#goLive();
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event.code, event.reason);
  }

  #goLive() {
    if (this.state.name === "live") return;
    this.#clearDeadline();
    this.#setState({ name: "live", reason: "", retryAtMs: null, tries: 0, closeCode: null });
    for (const message of this.#wishes.values()) this.send(message);
    this.#sendSubscriptions();
    this.#pingRepeatedly();
  }

  #sendSubscriptions() {
    const messages = [
      { type: "subscribe", metric_types: [...this.#subscribed] },
      { type: "unsubscribe", metric_types: [...this.#unsubscribed] },
    ];
    // "Nothing, then system" and "all, but not system" need opposite orders.
    if (this.#unsubscribed.has("all")) messages.reverse();
    for (const message of messages) if (message.metric_types.length) this.send(message);
  }

  #pingRepeatedly() {
    this.ping();
    this.#pingTimer = this.timers.setTimeout(() => this.#pingRepeatedly(), PING_MS);
  }

  #receive(text) {
    const receivedAtMs = this.localNow();
    this.#clearDeadline();
    this.#emit("text", text);
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      message = null;
    }
    if (message === null || typeof message !== "object" || Array.isArray(message)) {
      this.#emit("invalid", text);
      return;
    }
    if (message.type === "welcome") {
      this.welcome = message;
      // Another server may have another clock. Until its first pong, the whole connect counts as a slow round trip.
      this.clock.reset();
      this.clock.addSample(this.#connectingAtMs, message.timestamp, receivedAtMs);
      this.#goLive();
    } else if (message.type === "pong" && this.#pingSentAtMs !== null) {
      this.clock.addSample(this.#pingSentAtMs, message.timestamp, receivedAtMs);
      this.#emit("pong", receivedAtMs - this.#pingSentAtMs);
      this.#pingSentAtMs = null;
    } else if (message.type === "error") {
      this.#lastError = String(message.message ?? message.code ?? "");
    }
    this.#emit("message", message);
  }

  #closed(code, reason) {
    this.#release(null);
    // Some servers drop close reasons, so the last error frame speaks for a refusal.
    const words = mayReturn(code) ? describeClose(code, reason) : this.#lastError || describeClose(code, reason);
    this.#giveUpOrWait(code, words);
  }

  #giveUpOrWait(code, words) {
    const tries = this.state.tries + 1;
    if (!mayReturn(code)) {
      this.#setState({ name: "stopped", reason: words, retryAtMs: null, tries, closeCode: code });
      return;
    }
    const milliseconds = waitMilliseconds(tries, this.random);
    const retryAtMs = this.localNow() + milliseconds;
    this.#retryTimer = this.timers.setTimeout(() => this.#connect(tries, words), milliseconds);
    this.#setState({ name: "waiting", reason: words, retryAtMs, tries, closeCode: code });
  }

  #expectWithin(milliseconds, words) {
    this.#clearDeadline();
    this.#deadlineTimer = this.timers.setTimeout(() => {
      this.#release(1000);
      this.#giveUpOrWait(1006, words);
    }, milliseconds);
  }

  #clearDeadline() {
    this.timers.clearTimeout(this.#deadlineTimer);
    this.#deadlineTimer = null;
  }

  /** Let go of the socket and of every timer; a code closes the socket as well. */
  #release(closeCode) {
    this.timers.clearTimeout(this.#retryTimer);
    this.timers.clearTimeout(this.#pingTimer);
    this.#clearDeadline();
    this.#pingSentAtMs = null;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (closeCode !== null) socket.close(closeCode);
  }

  #setState(state) {
    this.state = state;
    this.#emit("state", state);
  }

  #emit(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) listener(value);
  }
}

/**
 * Return the address of a socket on the server this page came from.
 *
 * @param {string} path starts with a slash
 * @param {{protocol: string, host: string}} location
 * @param {Record<string, string | null>} [query] entries that are null are left out
 * @returns {string}
 */
export function socketUrl(path, location, query = {}) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null));
  const text = parameters.toString();
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}${text ? `?${text}` : ""}`;
}
