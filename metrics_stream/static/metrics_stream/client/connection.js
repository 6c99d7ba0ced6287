// One WebSocket connection that comes back: states, back-off, pings, and after every reconnect the same wishes, from the
// position that was reached.
// Room: client. Knows no DOM; socket, timers, clock and chance are passed in by tests.

import { waitMilliseconds } from "./backoff.js";
import { Clock } from "./clock.js";
import { describeClose, EXPIRED, isRefusal, mayReturn, NOT_AUTHENTICATED } from "./close_codes.js";
import { Subscription } from "./subscription.js";

/** Ten seconds: often enough for the clock and for finding a dead line, rare enough to cost nothing. */
export const PING_MS = 10_000;

/** A server that is silent for this long after a ping is taken for gone; a half-open line would stay "live" for hours. */
export const PONG_TIMEOUT_MS = 10_000;

/** How long a connect may take; a browser alone would wait for minutes. */
export const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Who was away for longer does not ask for every single metric that was missed: a summary (`backfill`) shows as much and
 * is far smaller.
 */
export const RESUME_WITHIN_MS = 60_000;

/**
 * @typedef {object} ConnectionState
 * @property {"connecting" | "live" | "waiting" | "stopped"} name
 * @property {string} reason why it is so, in words; empty while connecting for the first time and while live
 * @property {number | null} retryAtMs local time of the next attempt, while waiting
 * @property {number} tries attempts that failed since the connection was last live
 * @property {number | null} closeCode the code of the last close
 * @property {boolean} isRefused stopped because a sign-in, a token or a link is missing, or has ended
 *
 * @typedef {object} ConnectionOptions
 * @property {(url: string) => WebSocket} [openSocket]
 * @property {{setTimeout: Function, clearTimeout: Function}} [timers]
 * @property {() => number} [localNow] milliseconds since the epoch
 * @property {() => number} [random] a number from 0 up to 1
 * @property {string | null} [token] shown to a server that asks for one
 * @property {boolean} [liveOnOpen] be live as soon as the socket is open, for servers that send no `welcome`
 */

/**
 * Events, by `on(name, listener)`:
 * `state` (ConnectionState), `message` (object), `text` (string as received), `sent` (string as sent),
 * `pong` (round trip in milliseconds), `invalid` (string that is no JSON object),
 * `ready` (boolean: the server has all wishes; whether it was asked for everything since the last connection),
 * `recovered` (boolean: whether all of that comes).
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
  #isWelcomed = false;
  #subscription = new Subscription();
  /** @type {string | null} the place in the history up to which everything has come */
  #position = null;
  // Positions say nothing of metric types that are not confirmed yet.
  #isConfirmed = false;
  #reachedAtMs = -Infinity;
  #resumesFrom = null;

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
    this.token = options.token ?? null;
    this.liveOnOpen = options.liveOnOpen ?? false;
    this.clock = new Clock(this.localNow);
    /** @type {object | null} the newest welcome */
    this.welcome = null;
    /** @type {{backfill_seconds: number, max_points: number} | null} what to ask of the past with `subscribe` */
    this.backfill = null;
    /** @type {ConnectionState} */
    this.state = { name: "stopped", reason: "not started", retryAtMs: null, tries: 0, closeCode: null, isRefused: false };
  }

  /**
   * @param {"state" | "message" | "text" | "sent" | "pong" | "invalid" | "ready" | "recovered"} name
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
    this.#isConfirmed = false;
    this.send(this.#subscription.subscribe(metricTypes));
  }

  /** @param {string[]} metricTypes */
  unsubscribe(metricTypes) {
    this.send(this.#subscription.unsubscribe(metricTypes));
  }

  /**
   * Ask for `backfill`, or another stretch of the past, of all that is subscribed, or of some of it.
   *
   * @param {{backfill_seconds: number, max_points: number} | null} [past]
   * @param {string[]} [metricTypes]
   * @returns {boolean} whether it could be sent
   */
  refill(past = this.backfill, metricTypes = this.#subscription.metricTypes) {
    return this.send({ type: "subscribe", metric_types: metricTypes, ...past });
  }

  /** @param {{agent_ids?: string[], fields?: string[], sources?: string[]}} filters `{}` clears */
  setFilters(filters) {
    this.send(this.#subscription.configure({ type: "set_filters", filters }));
  }

  /** @param {number} seconds */
  setUpdateInterval(seconds) {
    this.#subscription.configure({ type: "set_update_interval", interval_seconds: seconds });
    this.#sendInterval();
  }

  /** @param {{batch_size?: number, batch_timeout_seconds?: number, mode?: "all" | "latest" | "aggregate"}} batching */
  setBatching(batching) {
    this.send(this.#subscription.configure({ type: "set_batching", ...batching }));
  }

  /** @returns {number | null} the interval in seconds while awake: the wish, else the preset's or the default */
  get intervalSeconds() {
    return this.#subscription.intervalSeconds;
  }

  /** @returns {boolean} */
  get isAtRest() {
    return this.#subscription.isAtRest;
  }

  /**
   * Until wake(), and across reconnects, ask for frames so seldom that a page which nobody sees costs little.
   *
   * Nothing is left out: the frames hold all that the frequent ones would have held, as long as the server can keep it.
   */
  rest() {
    if (this.isAtRest) return;
    this.#subscription.rest();
    if (this.#subscription.isSlowed) this.#sendInterval();
  }

  /** Ask for the interval in force again; what has gathered comes at once. */
  wake() {
    const wasSlowed = this.#subscription.isSlowed;
    this.#subscription.wake();
    if (wasSlowed) this.#sendInterval();
  }

  /** @param {number | null} seconds between frames, where that is less than the interval; null: as before */
  hasten(seconds) {
    const before = this.#subscription.intervalMessage?.interval_seconds;
    this.#subscription.hasten(seconds);
    if (before !== this.#subscription.intervalMessage?.interval_seconds) this.#sendInterval();
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
   * @returns {boolean} whether it could be sent; settings that could not are sent after the next welcome
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

  #sendInterval() {
    const message = this.#subscription.intervalMessage;
    if (message !== null) this.send(message);
  }

  #connect(tries, reason) {
    this.#release(1000);
    this.#lastError = "";
    this.#isWelcomed = false;
    this.#connectingAtMs = this.localNow();
    this.#setState({ name: "connecting", reason, retryAtMs: null, tries, closeCode: this.state.closeCode });
    this.#isConfirmed = false;
    const missedMs = this.localNow() - this.#reachedAtMs;
    this.#resumesFrom = missedMs <= RESUME_WITHIN_MS ? this.#position : null;
    if (this.#resumesFrom === null) this.#position = null;
    let socket;
    try {
      socket = this.openSocket(this.#address);
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
    this.#isWelcomed = true;
    this.#clearDeadline();
    this.#setState({ name: "live", reason: "", retryAtMs: null, tries: 0, closeCode: null });
    const past = this.#resumesFrom === null ? this.backfill : { resume_from: this.#resumesFrom };
    for (const message of this.#subscription.messages(past)) this.send(message);
    // Without a subscription of its own nothing is confirmed: the preset in the address says all.
    this.#isConfirmed = this.#subscription.metricTypes.length === 0;
    this.#emit("ready", this.#resumesFrom !== null);
    this.#pingRepeatedly();
  }

  get #address() {
    // What a preset gives begins with the connection, so that it has to resume in the address.
    if (this.#resumesFrom === null || !this.url.includes("preset=")) return this.url;
    return `${this.url}&resume_from=${encodeURIComponent(this.#resumesFrom)}`;
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
      this.#subscription.granted = message.subscription ?? null;
      // Another server may have another clock. Until its first pong, the whole connect counts as a slow round trip.
      this.clock.reset();
      this.clock.addSample(this.#connectingAtMs, message.timestamp, receivedAtMs);
      this.#goLive();
    } else if (message.type === "pong" && this.#pingSentAtMs !== null) {
      this.clock.addSample(this.#pingSentAtMs, message.timestamp, receivedAtMs);
      this.#emit("pong", receivedAtMs - this.#pingSentAtMs);
      this.#pingSentAtMs = null;
    } else if (message.type === "authentication_required") {
      this.#authenticate();
    } else if (message.type === "error") {
      this.#lastError = String(message.message ?? message.code ?? "");
    } else if (message.type === "gap" && message.reason === "pending_overflow" && this.#subscription.isSlowed) {
      this.#subscription.restLess();
      this.#sendInterval();
    }
    this.#emit("message", message);
    this.#remember(message, receivedAtMs);
  }

  /** Show the token; without one only a sign-in on the page helps. */
  #authenticate() {
    if (this.token === null) {
      this.#release(1000);
      this.#giveUpOrWait(NOT_AUTHENTICATED, describeClose(NOT_AUTHENTICATED));
      return;
    }
    // Past sendText(): a secret is for nobody who listens to what is sent.
    this.#socket.send(JSON.stringify({ type: "authenticate", token: this.token }));
    this.#expectWithin(CONNECT_TIMEOUT_MS, "the server does not answer");
  }

  /** Note what was reached, after the listeners have taken it: what they did not take is asked for again. */
  #remember(message, receivedAtMs) {
    if (message.type === "subscription_confirmed") {
      this.#isConfirmed = this.#subscription.isWhole(message.metric_types ?? []);
      if (typeof message.recovered === "boolean") this.#emit("recovered", message.recovered);
    }
    if (typeof message.position !== "string" || !this.#isConfirmed) return;
    this.#position = message.position;
    this.#reachedAtMs = receivedAtMs;
  }

  #closed(code, reason) {
    this.#release(null);
    // Some servers drop close reasons, so the last error frame speaks for a refusal.
    const words = this.#mayReturn(code) ? describeClose(code, reason) : this.#lastError || describeClose(code, reason);
    this.#giveUpOrWait(code, words);
  }

  /** What has expired by itself is not asked for again and again: once is enough to find out. */
  #mayReturn(code) {
    return mayReturn(code) && (code !== EXPIRED || this.#isWelcomed);
  }

  #giveUpOrWait(code, words) {
    const tries = this.state.tries + 1;
    if (!this.#mayReturn(code)) {
      this.#setState({ name: "stopped", reason: words, retryAtMs: null, tries, closeCode: code, isRefused: isRefusal(code) });
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
    this.state = { isRefused: false, ...state };
    this.#emit("state", this.state);
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
