// What was missed while the connection was open: a break in the lines at once, and soon after what the server has of it.
// Room: client; pure.

/** Gaps come in rows. What is asked for a moment later fills all of them. */
const COLLECT_MS = 2_000;

/** Who is too slow for what is live is not to be made slower by what was missed. */
const REQUEST_INTERVAL_MS = 15_000;

/** What a frame lacks is no older than that: longer than an interval, and than servers wait for slow clients. */
const OLDEST_MISSING_MS = 60_000;

export class GapRefill {
  #timer = null;
  #sinceMs = null;
  #metricTypes = new Set();
  #requestedAtMs = -Infinity;

  /**
   * @param {Connection} connection
   * @param {Feed} feed
   * @param {{historySeconds: number, isLive: () => boolean}} past how far back the server can fill anything, and
   *   whether what comes is of the present
   */
  constructor(connection, feed, { historySeconds, isLive }) {
    Object.assign(this, { connection, feed, historySeconds, isLive });
  }

  /** @param {{reason: string, metric_types?: string[]}} gap as it came over the wire */
  take({ reason, metric_types: metricTypes = [] }) {
    this.feed.target.break(metricTypes);
    // What the history has lost it cannot give, and a replay has its own past.
    if (reason === "history" || !this.historySeconds || !this.isLive()) return;
    for (const slug of metricTypes) this.#metricTypes.add(slug);
    const nowMs = this.connection.clock.now();
    this.#sinceMs ??= nowMs - OLDEST_MISSING_MS;
    this.#scheduleRequest(Math.max(COLLECT_MS, this.#requestedAtMs + REQUEST_INTERVAL_MS - nowMs));
  }

  stop() {
    this.connection.timers.clearTimeout(this.#timer);
    this.#timer = null;
  }

  #scheduleRequest(milliseconds) {
    this.#timer ??= this.connection.timers.setTimeout(() => this.#sendRequest(), milliseconds);
  }

  #sendRequest() {
    this.#timer = null;
    const nowMs = this.connection.clock.now();
    const seconds = Math.min(Math.ceil((nowMs - this.#sinceMs) / 1000), this.historySeconds);
    const past = { backfill_seconds: seconds, max_points: seconds + 2 };
    // Until all of the past has come, a second wish would take the place of the one for it.
    const isSent = this.isLive() && !this.feed.isBackfillPending && this.connection.refill(past, [...this.#metricTypes]);
    if (!isSent) {
      this.#scheduleRequest(COLLECT_MS);
      return;
    }
    this.#requestedAtMs = nowMs;
    this.#sinceMs = null;
    this.#metricTypes.clear();
  }
}
