// The server's clock as this page estimates it, and the clock of a replay.

/** Samples kept; at one ping in ten seconds about three minutes, in which clocks hardly drift. */
const KEPT_SAMPLES = 16;

/** A generous bound on how far two clocks drift apart while samples are kept. */
const DRIFT_MS = 250;

/** Estimates from pings and their pongs how far the server's clock is ahead of the local one. */
export class Clock {
  /** @param {() => number} [localNow] the local time in milliseconds since the epoch */
  constructor(localNow = Date.now) {
    this.localNow = localNow;
    /** @type {{roundTripMs: number, offsetMs: number}[]} */
    this.samples = [];
  }

  /**
   * Take one ping into account.
   *
   * @param {number} sentAtMs local time at which the ping left
   * @param {string} serverTimestamp ISO 8601, as in the pong
   * @param {number} [receivedAtMs] local time at which the pong came
   */
  addSample(sentAtMs, serverTimestamp, receivedAtMs = this.localNow()) {
    const serverMs = Date.parse(serverTimestamp);
    const roundTripMs = receivedAtMs - sentAtMs;
    if (Number.isNaN(serverMs) || roundTripMs < 0) return;
    const sample = { roundTripMs, offsetMs: serverMs - (sentAtMs + receivedAtMs) / 2 };
    // The error of a sample is at most half its round trip. Where two samples cannot both be right, a clock was set.
    const { best } = this;
    const errorMs = (roundTripMs + (best?.roundTripMs ?? 0)) / 2 + DRIFT_MS;
    if (best !== null && Math.abs(sample.offsetMs - best.offsetMs) > errorMs) this.reset();
    this.samples.push(sample);
    if (this.samples.length > KEPT_SAMPLES) this.samples.shift();
  }

  /** Forget all samples: the next ones may come from another clock. */
  reset() {
    this.samples = [];
  }

  /** @returns {{roundTripMs: number, offsetMs: number} | null} the sample with the smallest round trip */
  get best() {
    // A short round trip leaves little room for the error of unequal delays in the two directions.
    return this.samples.reduce((best, each) => (best && best.roundTripMs <= each.roundTripMs ? best : each), null);
  }

  /** @returns {number} milliseconds by which the server's clock is ahead of the local one; 0 while unknown */
  get offsetMs() {
    return this.best?.offsetMs ?? 0;
  }

  /** @returns {number | null} the round trip of the newest sample in milliseconds */
  get roundTripMs() {
    return this.samples.at(-1)?.roundTripMs ?? null;
  }

  /** @returns {number} the server's time now, in milliseconds since the epoch */
  now() {
    return this.localNow() + this.offsetMs;
  }

  /**
   * @param {number} timestampMs when something happened, in milliseconds since the epoch
   * @returns {number} its age in milliseconds; negative when its producer's clock is ahead
   */
  ageMs(timestampMs) {
    return this.now() - timestampMs;
  }
}

/** The time that a replay has reached. It advances by itself between the messages that report it. */
export class ReplayClock {
  #atMs = 0;
  #untilMs = Infinity;
  #speed = 0;
  #setAtMs = 0;

  /** @param {() => number} [localNow] the local time in milliseconds since the epoch */
  constructor(localNow = Date.now) {
    this.localNow = localNow;
  }

  /**
   * @param {{atMs: number, untilMs: number, speed: number}} place `speed`: replayed seconds per second, 0 while paused
   * @param {{isJump: boolean}} how without a jump, time does not go back by a moment, which would look like a jerk
   */
  set({ atMs, untilMs, speed }, { isJump }) {
    const beforeMs = this.now();
    const isLate = atMs < beforeMs && beforeMs - atMs < 1_500 * this.#speed;
    this.#atMs = isLate && !isJump ? beforeMs : atMs;
    this.#untilMs = untilMs;
    this.#speed = speed;
    this.#setAtMs = this.localNow();
  }

  /** @returns {number} in milliseconds since the epoch */
  now() {
    return Math.min(this.#untilMs, this.#atMs + (this.localNow() - this.#setAtMs) * this.#speed);
  }
}
