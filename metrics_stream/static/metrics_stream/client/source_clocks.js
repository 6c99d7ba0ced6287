// The sources whose clocks are off. The server says so beside each of their metrics, and by how much.

/** Bound on names that producers choose. */
const MAX_SOURCES = 256;

export class SourceClocks {
  /** @type {Map<string, {source: string, aheadSeconds: number}>} by metric type and source */
  #wrong = new Map();

  /**
   * Note what a metric says of the clock of its source.
   *
   * @param {object} metric as received
   * @returns {number} by how many milliseconds its timestamp is ahead; 0 for a clock that is right
   */
  note({ metric_type: metricType, source, clock_ahead_seconds: aheadSeconds }) {
    const key = `${metricType}\u0000${source}`;
    if (typeof aheadSeconds !== "number") {
      if (this.#wrong.size) this.#wrong.delete(key);
      return 0;
    }
    if (this.#wrong.has(key) || this.#wrong.size < MAX_SOURCES)
      this.#wrong.set(key, { source: String(source ?? ""), aheadSeconds });
    return aheadSeconds * 1000;
  }

  /** @returns {Map<string, number>} by how many seconds each clock that is off is ahead, by source */
  get wrong() {
    return new Map([...this.#wrong.values()].map(({ source, aheadSeconds }) => [source, aheadSeconds]));
  }
}
