// The client side of a replay: its requests, the state that the server reports, and which frames belong to it.

import { ReplayClock } from "./clock.js";

/** Servers accept ten messages a second; a key that is held down or a slider that is dragged would send more. */
const SEEK_INTERVAL_MS = 250;

/** Requests per second without a wait; a key that is held down in the list of runs chooses thirty replays a second. */
const MAX_REQUESTS_PER_SECOND = 5;

/**
 * @typedef {object} Place
 * @property {string | null} run id of a test run; null: the history
 * @property {number | null} atMs null: the start
 * @property {number} speed replayed seconds per second
 * @property {boolean} isPaused
 *
 * @typedef {{backfill_seconds: number, max_points: number}} Past the past to request before a place
 */

export class Player {
  #connection;
  #onChange;
  #backfillAt;
  #refCount = 0;
  /** @type {string | null} ref of the request whose answer is awaited; until then frames belong to the time before */
  #awaitedRef = null;
  /** @type {object | null} the request that waits to be sent; a newer one replaces it */
  #unsentRequest = null;
  #requestTimer = null;
  #requestedAtMs = [];
  /** @type {string | null} ref of a change of state or speed; until its answer the server reports older ones */
  #stateChangeRef = null;
  /** @type {number | null} the next position to seek */
  #nextSeekMs = null;
  #seekTimer = null;
  #lastSeekAtMs = -Infinity;
  /** Whether the server replays, by its last report. */
  #isServerReplaying = false;

  /**
   * @param {Connection} connection
   * @param {(news: {isJump: boolean, problem: object | null}) => void} onChange `isJump`: the next frames are of
   *   another time; `problem`: the error that made the page live again
   * @param {(atMs: number | null) => Past} backfillAt
   */
  constructor(connection, onChange, backfillAt) {
    this.#connection = connection;
    this.#onChange = onChange;
    this.#backfillAt = backfillAt;
    this.clock = new ReplayClock(connection.localNow);
    /** @type {"live" | "playing" | "paused" | "ended"} */
    this.state = "live";
    /** @type {string | null} */
    this.run = null;
    this.speed = 1;
    /** @type {number | null} the limits of what can be replayed */
    this.fromMs = null;
    this.untilMs = null;
  }

  get isReplaying() {
    return this.state !== "live";
  }

  /** @returns {boolean} whether an answer is awaited: until then frames belong to the time before */
  get isSeeking() {
    return this.#awaitedRef !== null || this.#nextSeekMs !== null;
  }

  /**
   * Return which time a frame belongs to.
   *
   * @param {object} frame
   * @returns {"live" | "replay" | null} null: a time that is no longer shown
   */
  partOf(frame) {
    // Until the replay begins the server sends live frames, and the page stays live if the replay is refused.
    if (this.isSeeking) return this.#isServerReplaying ? null : "live";
    if (!this.isReplaying) return "live";
    return frame.replayed === true || frame.type === "backfill" ? "replay" : null;
  }

  /** Start a replay. @param {Place} place */
  open({ run, atMs, speed, isPaused }) {
    if (!this.isReplaying || run !== this.run) this.fromMs = this.untilMs = null;
    this.state = isPaused ? "paused" : "playing";
    this.#stateChangeRef = null;
    this.run = run;
    this.speed = speed;
    this.#requestJump(atMs, {
      type: "replay",
      ...(run === null ? {} : { run }),
      ...(atMs === null ? {} : { from: instant(atMs) }),
      speed,
      paused: isPaused,
    });
  }

  /** On a new connection, drop the requests of the old one and restart the replay where it was. */
  reconnect() {
    this.#isServerReplaying = false;
    this.#unsentRequest = null;
    this.#requestedAtMs = [];
    this.#awaitedRef = this.#stateChangeRef = this.#nextSeekMs = null;
    if (!this.isReplaying) return;
    this.open({ run: this.run, atMs: this.clock.now(), speed: this.speed, isPaused: this.state !== "playing" });
  }

  /** Go to a time; of many calls in a moment only the last one is sent. @param {number} atMs */
  seek(atMs) {
    if (this.state === "ended") this.state = "paused";
    this.#nextSeekMs = this.#clampToRange(atMs);
    this.clock.set({ atMs: this.#nextSeekMs, untilMs: Infinity, speed: 0 }, { isJump: true });
    this.#scheduleSeek();
  }

  #scheduleSeek() {
    if (this.#awaitedRef !== null || this.#seekTimer !== null) return;
    const waitMs = Math.max(0, this.#lastSeekAtMs + SEEK_INTERVAL_MS - this.#connection.localNow());
    if (waitMs === 0) this.#sendSeek();
    else this.#seekTimer = this.#connection.timers.setTimeout(() => this.#sendSeek(), waitMs);
  }

  #sendSeek() {
    this.#seekTimer = null;
    if (this.#nextSeekMs === null || this.#awaitedRef !== null) return;
    const atMs = this.#nextSeekMs;
    this.#lastSeekAtMs = this.#connection.localNow();
    this.#requestJump(atMs, { type: "seek", to: instant(atMs) });
  }

  play() {
    if (this.state === "ended") {
      this.open({ run: this.run, atMs: this.fromMs, speed: this.speed, isPaused: false });
      return;
    }
    this.#changeState("playing", { type: "resume", speed: this.speed });
  }

  pause() {
    this.#changeState("paused", { type: "pause" });
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.speed = speed;
    if (this.state === "playing") this.#changeState("playing", { type: "resume", speed });
  }

  live() {
    this.#goLive(null);
  }

  #goLive(problem) {
    this.state = "live";
    this.run = null;
    this.#stateChangeRef = this.#nextSeekMs = null;
    // A replay that was requested a moment ago would still start. A server that replays nothing answers `live` without
    // the past, so it is sent only where there is a replay to end.
    if (this.#isServerReplaying || this.#awaitedRef !== null)
      this.#request({ type: "live", ...this.#backfillAt(null) });
    this.#onChange({ isJump: true, problem });
  }

  /**
   * @param {object} message as received
   * @returns {boolean} whether it concerned the replay
   */
  take(message) {
    const isAnswer = message.ref !== undefined && message.ref === this.#awaitedRef;
    if (message.ref !== undefined && message.ref === this.#stateChangeRef) this.#stateChangeRef = null;
    if (message.type === "error" && isAnswer) {
      this.#awaitedRef = this.#nextSeekMs = null;
      this.#goLive(message);
      return true;
    }
    if (message.type !== "replay_state") return false;
    const wasServerReplaying = this.#isServerReplaying;
    this.#isServerReplaying = message.state !== "live";
    // Reports from before the answer are out of date.
    if (this.#awaitedRef !== null && !isAnswer) return true;
    if (this.#stateChangeRef !== null && message.state !== "live") {
      if (!isAnswer) return true;
      message = { ...message, state: this.state, speed: this.speed };
    }
    this.#awaitedRef = null;
    if (this.#nextSeekMs !== null && message.state !== "live") {
      [this.state, this.fromMs, this.untilMs] = [message.state, parse(message.from), parse(message.until)];
      this.#scheduleSeek();
      return true;
    }
    const wasReplaying = this.isReplaying;
    this.#applyState(message, { isJump: isAnswer });
    // The past does not come by itself when the server ends a replay, or had not begun the one that `live` was to end.
    const isWithoutPast = isAnswer ? !wasServerReplaying : wasReplaying;
    this.#onChange({ isJump: !this.isReplaying && isWithoutPast, problem: null });
    return true;
  }

  stop() {
    for (const timer of [this.#seekTimer, this.#requestTimer]) this.#connection.timers.clearTimeout(timer);
    this.#seekTimer = this.#requestTimer = null;
  }

  #applyState({ state, run, at, from, until, speed }, { isJump }) {
    this.state = state;
    if (state === "live") return;
    this.run = run ?? null;
    // While paused, the speed is the last choice of the viewer, which is sent on resume.
    if (state === "playing") this.speed = speed;
    this.fromMs = parse(from);
    this.untilMs = parse(until);
    // Round up by a millisecond: a link to this instant has to show what was visible at it.
    const atMs = (parse(at) ?? this.clock.now() - 1) + 1;
    this.clock.set({ atMs, untilMs: this.untilMs ?? Infinity, speed: state === "playing" ? speed : 0 }, { isJump });
  }

  /** Request another time. The clock goes there at once, and stands still until the server answers. */
  #requestJump(atMs, message) {
    this.#nextSeekMs = null;
    if (atMs !== null) this.clock.set({ atMs, untilMs: Infinity, speed: 0 }, { isJump: true });
    this.#request({ ...message, ...this.#backfillAt(atMs) });
    this.#onChange({ isJump: true, problem: null });
  }

  #changeState(state, message) {
    const atMs = this.clock.now();
    this.state = state;
    const speed = state === "playing" ? this.speed : 0;
    this.clock.set({ atMs, untilMs: this.untilMs ?? Infinity, speed }, { isJump: false });
    const ref = this.#createRef();
    this.#stateChangeRef = this.#connection.send({ ...message, ref }) ? ref : null;
    this.#onChange({ isJump: false, problem: null });
  }

  #request(message) {
    this.#awaitedRef = this.#createRef();
    this.#unsentRequest = { ...message, ref: this.#awaitedRef };
    if (this.#requestTimer !== null) return;
    const nowMs = this.#connection.localNow();
    this.#requestedAtMs = this.#requestedAtMs.filter((atMs) => Math.abs(nowMs - atMs) < 1_000);
    if (this.#requestedAtMs.length < MAX_REQUESTS_PER_SECOND) this.#sendRequest();
    else this.#requestTimer = this.#connection.timers.setTimeout(() => this.#sendRequest(), SEEK_INTERVAL_MS);
  }

  #sendRequest() {
    this.#requestTimer = null;
    const message = this.#unsentRequest;
    if (message === null) return;
    this.#unsentRequest = null;
    this.#requestedAtMs.push(this.#connection.localNow());
    // What cannot be sent now is requested again by reconnect().
    if (!this.#connection.send(message)) this.#awaitedRef = null;
  }

  #createRef() {
    this.#refCount += 1;
    return `replay ${this.#refCount}`;
  }

  #clampToRange(atMs) {
    return Math.min(Math.max(atMs, this.fromMs ?? -Infinity), this.untilMs ?? Infinity);
  }
}

const instant = (milliseconds) => new Date(milliseconds).toISOString();

function parse(timestamp) {
  const milliseconds = Date.parse(timestamp ?? "");
  return Number.isNaN(milliseconds) ? null : milliseconds;
}
