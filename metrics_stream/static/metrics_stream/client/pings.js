// Pings, their pongs, and the server's clock as both tell it.

import { Clock } from "./clock.js";

/** Ten seconds: often enough for the clock and for finding a dead line, rare enough to cost nothing. */
export const PING_MS = 10_000;

/** A server that is silent for this long after a ping counts as gone; a half-open line would stay "live" for hours. */
export const PONG_TIMEOUT_MS = 10_000;

/** Pings of which a pong may still come. A server without pongs must not let the list grow. */
const MAX_UNANSWERED = 50;

export class Pings {
  #timer = null;
  #connectingAtMs = 0;
  /** @type {{ref: string | undefined, atMs: number}[]} oldest first */
  #unanswered = [];

  /** @param {{timers: Timers, localNow: () => number}} options */
  constructor({ timers, localNow }) {
    this.timers = timers;
    this.localNow = localNow;
    this.clock = new Clock(localNow);
  }

  /** Note that an attempt to connect begins. */
  connecting() {
    this.stop();
    this.#connectingAtMs = this.localNow();
  }

  /** Take the time in a welcome into account. @param {string} timestamp @param {number} receivedAtMs */
  welcome(timestamp, receivedAtMs) {
    // Another server may have another clock. Until its first pong, the whole connect counts as a slow round trip.
    this.clock.reset();
    this.clock.addSample(this.#connectingAtMs, timestamp, receivedAtMs);
  }

  /** Note a ping that was sent. @param {string} [ref] */
  sent(ref) {
    this.#unanswered.push({ ref, atMs: this.localNow() });
    if (this.#unanswered.length > MAX_UNANSWERED) this.#unanswered.shift();
  }

  /** @returns {number} milliseconds since the newest ping that has no pong; Infinity where each has one */
  get unansweredMs() {
    const newest = this.#unanswered.at(-1);
    return newest === undefined ? Infinity : this.localNow() - newest.atMs;
  }

  /**
   * Take in a pong.
   *
   * @param {{ref?: string, timestamp: string}} pong
   * @param {number} receivedAtMs
   * @returns {number | null} the round trip in milliseconds; null for a pong of no ping that is known
   */
  pong({ ref, timestamp }, receivedAtMs) {
    // Pongs come in the order of their pings; a ref makes sure.
    const place = ref === undefined ? 0 : this.#unanswered.findIndex((ping) => ping.ref === ref);
    if (place < 0 || place >= this.#unanswered.length) return null;
    const [ping] = this.#unanswered.splice(0, place + 1).slice(-1);
    this.clock.addSample(ping.atMs, timestamp, receivedAtMs);
    return receivedAtMs - ping.atMs;
  }

  /** Call `send` now and every ten seconds until stop(). @param {() => void} send */
  repeat(send) {
    this.timers.clearTimeout(this.#timer);
    send();
    this.#timer = this.timers.setTimeout(() => this.repeat(send), PING_MS);
  }

  /** Keep the pings that wait for a pong, but send no more by timer. */
  pause() {
    this.timers.clearTimeout(this.#timer);
  }

  /** Expect no pong of what was sent until now. */
  forget() {
    this.#unanswered = [];
  }

  /** The connection has ended: send no more, and forget what was sent on it. */
  stop() {
    this.pause();
    this.forget();
  }
}
