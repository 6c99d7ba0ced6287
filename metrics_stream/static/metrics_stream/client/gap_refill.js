// Metrics that the server skipped while the connection was open: a gap breaks the lines at once, and soon after it is
// filled with what the server has kept.

/** Gaps come in quick succession; one request a moment later fills all of them. */
const COLLECT_MS = 2_000;

/** A client that is too slow for live metrics must not be slowed down further by missed ones. */
const REQUEST_INTERVAL_MS = 15_000;

/** No missing metric is older: longer than any interval, and than servers wait for slow clients. */
const OLDEST_MISSING_MS = 60_000;

export class GapRefill {
  #timer = null;
  #sinceMs = null;
  #metricTypes = new Set();
  #requestedAtMs = -Infinity;

  /**
   * @param {Connection} connection
   * @param {Feed} feed
   * @param {{historySeconds: number, isLive: () => boolean}} past how far back the server's history reaches, and
   *   whether the page shows live metrics
   */
  constructor(connection, feed, { historySeconds, isLive }) {
    Object.assign(this, { connection, feed, historySeconds, isLive });
  }

  /** @param {{reason: string, metric_types?: string[]}} gap as it came over the wire */
  take({ reason, metric_types: metricTypes = [] }) {
    this.feed.target.break(metricTypes);
    // The history cannot return what it has lost, and a replay sends its past by itself.
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
    // While a requested past is on its way, a second request would replace the first.
    const isSent =
      this.isLive() && !this.feed.isBackfillPending && this.connection.refill(past, [...this.#metricTypes]);
    if (!isSent) {
      this.#scheduleRequest(COLLECT_MS);
      return;
    }
    this.#requestedAtMs = nowMs;
    this.#sinceMs = null;
    this.#metricTypes.clear();
  }
}
