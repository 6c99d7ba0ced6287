// One WebSocket connection of the metrics protocol, kept until it is stopped: after every reconnect it sends the same
// subscription and settings again and resumes from the position that was reached.

import { describeClose, EXPIRED, isRefusal, mayReturn, NOT_AUTHENTICATED } from "./close_codes.js";
import { Emitter } from "./emitter.js";
import { parseObject } from "./json_object.js";
import { Pings, PONG_TIMEOUT_MS } from "./pings.js";
import { BROWSER_TIMERS, ReconnectingSocket } from "./reconnecting_socket.js";
import { Subscription } from "./subscription.js";

/** How long a connect may take; a browser alone would wait for minutes. */
export const CONNECT_TIMEOUT_MS = 10_000;

/**
 * After a longer absence the client does not request every single metric that it missed: a summary (`backfill`) shows
 * as much and is far smaller.
 */
export const RESUME_WITHIN_MS = 60_000;

/**
 * @typedef {object} ConnectionState
 * @property {"connecting" | "live" | "waiting" | "stopped"} name
 * @property {string} reason why, as a text; empty while connecting for the first time and while live
 * @property {number | null} retryAtMs local time of the next attempt, while waiting
 * @property {number} tries attempts that have failed since the connection was last live
 * @property {number | null} closeCode the code of the last close
 * @property {boolean} isRefused stopped because a sign-in, a token or a link is missing or has ended
 *
 * @typedef {object} ConnectionOptions
 * @property {(url: string) => WebSocket} [openSocket]
 * @property {Timers} [timers]
 * @property {() => number} [localNow] milliseconds since the epoch
 * @property {() => number} [random] a number from 0 up to 1
 * @property {string | null} [token] for a server that requires one
 */

/**
 * Events, by `on(name, listener)`:
 * `state` (ConnectionState), `message` (object), `text` (string as received), `sent` (string as sent),
 * `pong` (round trip in milliseconds), `invalid` (string that is not a JSON object),
 * `ready` (after subscription and settings were sent; boolean: whether the connection resumes from a position),
 * `recovered` (boolean: whether everything since that position will come).
 */
export class Connection {
  #emitter = new Emitter();
  #socket;
  #pings;
  #lastError = "";
  #isWelcomed = false;
  #subscription = new Subscription();
  /** @type {string | null} the position in the history up to which everything has come */
  #position = null;
  // Positions do not cover metric types that are not confirmed yet.
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
    this.timers = options.timers ?? BROWSER_TIMERS;
    this.localNow = options.localNow ?? Date.now;
    this.token = options.token ?? null;
    /** @type {object | null} the newest welcome */
    this.welcome = null;
    /** @type {{backfill_seconds: number, max_points: number} | null} the past to request with `subscribe` */
    this.backfill = null;
    /** @type {ConnectionState} */
    this.state = {
      name: "stopped",
      reason: "not started",
      retryAtMs: null,
      tries: 0,
      closeCode: null,
      isRefused: false,
    };
    const { timers, localNow } = this;
    this.#pings = new Pings({ timers, localNow });
    this.#socket = new ReconnectingSocket({
      timers,
      localNow,
      random: options.random ?? Math.random,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      openSocket: () => this.#open(),
      mayReconnect: (code) => this.#mayReconnect(code),
      onState: (state) => this.#handleSocketState(state),
      onMessage: (text) => this.#receive(text),
    });
  }

  /** @returns {Clock} the server's clock */
  get clock() {
    return this.#pings.clock;
  }

  /**
   * @param {"state" | "message" | "text" | "sent" | "pong" | "invalid" | "ready" | "recovered"} name
   * @param {(value: any) => void} listener
   * @returns {() => void} removes the listener
   */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }

  /** Connect, and stay connected until stop(). */
  start() {
    if (this.state.name === "connecting" || this.state.name === "live") return;
    this.#socket.start();
  }

  /**
   * Close, and stay closed until start().
   *
   * @param {string} [reason] why, as a text
   */
  stop(reason = "closed by this page") {
    this.#pings.stop();
    this.#socket.stop();
    this.#setState({ name: "stopped", reason, closeCode: null });
  }

  /** While waiting, try at once: the network is back, or a person pressed the button. */
  retryNow() {
    this.#socket.retryNow();
  }

  /** @param {string[]} metricTypes requested now and after each reconnect */
  subscribe(metricTypes) {
    this.#isConfirmed = false;
    this.send(this.#subscription.subscribe(metricTypes));
  }

  /** @param {string[]} metricTypes */
  unsubscribe(metricTypes) {
    this.send(this.#subscription.unsubscribe(metricTypes));
  }

  /**
   * Request `backfill`, or another stretch of the past, for all subscribed types or for some of them.
   *
   * @param {{backfill_seconds: number, max_points: number} | null} [past]
   * @param {string[]} [metricTypes]
   * @returns {boolean} whether it could be sent
   */
  refill(past = this.backfill, metricTypes = this.#subscription.metricTypes) {
    return this.send({ type: "subscribe", metric_types: metricTypes, ...past });
  }

  /** @param {{agent_ids?: string[], keys?: Record<string, string[]>, fields?: string[], sources?: string[]}} filters `{}` clears */
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

  /** @returns {number | null} the interval in seconds while awake: as set, else of the preset, else the default */
  get intervalSeconds() {
    return this.#subscription.intervalSeconds;
  }

  /** @returns {boolean} */
  get isAtRest() {
    return this.#subscription.isAtRest;
  }

  /**
   * Until wake(), and across reconnects, request frames so rarely that a hidden page costs little.
   *
   * The rare frames hold everything that frequent ones would have held, as long as the server can keep it.
   */
  rest() {
    if (this.isAtRest) return;
    this.#subscription.rest();
    if (this.#subscription.isSlowed) this.#sendInterval();
  }

  /** Request the usual interval again; what the server has gathered comes at once. */
  wake() {
    const wasSlowed = this.#subscription.isSlowed;
    this.#subscription.wake();
    if (wasSlowed) this.#sendInterval();
  }

  /** @param {number | null} seconds a shorter interval for a while; null ends it */
  hasten(seconds) {
    const before = this.#subscription.intervalMessage?.interval_seconds;
    this.#subscription.hasten(seconds);
    if (before !== this.#subscription.intervalMessage?.interval_seconds) this.#sendInterval();
  }

  /** Request the server's time; the answer feeds the clock. */
  ping() {
    // One ping at a time, or a late pong would be matched with a younger ping and bend the clock.
    if (this.#pings.unansweredMs < 3 * PONG_TIMEOUT_MS) return;
    if (!this.send({ type: "ping" })) return;
    this.#pings.forget();
    this.#pings.sent();
    this.#socket.expectMessageWithin(PONG_TIMEOUT_MS);
  }

  /**
   * @param {object} message
   * @returns {boolean} whether it could be sent; settings that could not be sent follow the next welcome
   */
  send(message) {
    return this.sendText(JSON.stringify(message));
  }

  /**
   * @param {string} text sent as it is
   * @returns {boolean}
   */
  sendText(text) {
    if (this.state.name !== "live" || !this.#socket.send(text)) return false;
    this.#emitter.emit("sent", text);
    return true;
  }

  #sendInterval() {
    const message = this.#subscription.intervalMessage;
    if (message !== null) this.send(message);
  }

  /** Open a socket for an attempt. */
  #open() {
    this.#pings.connecting();
    this.#lastError = "";
    this.#isWelcomed = false;
    this.#isConfirmed = false;
    const missedMs = this.localNow() - this.#reachedAtMs;
    this.#resumesFrom = missedMs <= RESUME_WITHIN_MS ? this.#position : null;
    if (this.#resumesFrom === null) this.#position = null;
    return this.openSocket(this.#address);
  }

  get #address() {
    // A preset sends from the first moment of the connection, so it has to resume in the address.
    if (this.#resumesFrom === null || !this.url.includes("preset=")) return this.url;
    return `${this.url}&resume_from=${encodeURIComponent(this.#resumesFrom)}`;
  }

  #handleSocketState({ name, tries, retryAtMs, ending, problem }) {
    if (name === "connecting") {
      const reason = tries === 0 ? "" : this.state.reason;
      this.#setState({ name, reason, tries, closeCode: this.state.closeCode });
      return;
    }
    // Open is not live: the server may still ask for a token, or refuse.
    if (name === "open") return;
    this.#pings.stop();
    if (ending === null) {
      this.#setState({ name: "stopped", reason: problem, tries, closeCode: null });
      return;
    }
    const { code } = ending;
    const reason = this.#describeEnding(ending);
    if (name === "waiting") this.#setState({ name, reason, retryAtMs, tries, closeCode: code });
    else this.#setState({ name: "stopped", reason, tries, closeCode: code, isRefused: isRefusal(code) });
  }

  #describeEnding({ code, reason, isByServer }) {
    if (!isByServer) return reason;
    const words = describeClose(code, reason);
    // Some servers drop close reasons, so the last error frame gives the reason of a refusal.
    return this.#mayReconnect(code) ? words : this.#lastError || words;
  }

  /** After a close as expired one more attempt is allowed; one that is closed so before its welcome is the last. */
  #mayReconnect(code) {
    return mayReturn(code) && (code !== EXPIRED || this.#isWelcomed);
  }

  #goLive() {
    if (this.state.name === "live") return;
    this.#isWelcomed = true;
    this.#socket.confirm();
    this.#setState({ name: "live", reason: "", closeCode: null });
    const past = this.#resumesFrom === null ? this.backfill : { resume_from: this.#resumesFrom };
    for (const message of this.#subscription.messages(past)) this.send(message);
    // Without a subscription of its own nothing is confirmed: the preset in the address decides.
    this.#isConfirmed = this.#subscription.metricTypes.length === 0;
    this.#emitter.emit("ready", this.#resumesFrom !== null);
    this.#pings.repeat(() => this.ping());
  }

  #receive(text) {
    const receivedAtMs = this.localNow();
    this.#emitter.emit("text", text);
    const message = parseObject(text);
    if (message === null) {
      this.#emitter.emit("invalid", text);
      return;
    }
    if (message.type === "welcome") {
      this.welcome = message;
      this.#subscription.granted = message.subscription ?? null;
      this.#pings.welcome(message.timestamp, receivedAtMs);
      this.#goLive();
    } else if (message.type === "pong") {
      const roundTripMs = this.#pings.pong(message, receivedAtMs);
      if (roundTripMs !== null) this.#emitter.emit("pong", roundTripMs);
    } else if (message.type === "subscription_changed") {
      // The preset was changed; what this client has set itself stays.
      this.#subscription.granted = message.granted ?? null;
    } else if (message.type === "authentication_required") {
      this.#authenticate();
    } else if (message.type === "error") {
      this.#lastError = String(message.message ?? message.code ?? "");
    } else if (message.type === "gap" && message.reason === "pending_overflow" && this.#subscription.isSlowed) {
      this.#subscription.restLess();
      this.#sendInterval();
    }
    this.#emitter.emit("message", message);
    this.#notePosition(message, receivedAtMs);
  }

  /** Show the token; without one only a sign-in on the page helps. */
  #authenticate() {
    if (this.token === null) {
      this.#socket.fail(NOT_AUTHENTICATED, describeClose(NOT_AUTHENTICATED));
      return;
    }
    // Not by sendText(): listeners to what is sent must not get a secret.
    this.#socket.send(JSON.stringify({ type: "authenticate", token: this.token }));
    this.#socket.expectMessageWithin(CONNECT_TIMEOUT_MS);
  }

  /** Note the position of a message after the listeners have taken it: what they did not take is asked for again. */
  #notePosition(message, receivedAtMs) {
    if (message.type === "subscription_confirmed") {
      this.#isConfirmed = this.#subscription.isWhole(message.metric_types ?? []);
      if (typeof message.recovered === "boolean") this.#emitter.emit("recovered", message.recovered);
    }
    if (typeof message.position !== "string" || !this.#isConfirmed) return;
    this.#position = message.position;
    this.#reachedAtMs = receivedAtMs;
  }

  #setState(state) {
    this.state = { retryAtMs: null, tries: 0, isRefused: false, ...state };
    this.#emitter.emit("state", this.state);
  }
}
