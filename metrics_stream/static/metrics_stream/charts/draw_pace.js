// When a chart draws again that takes some milliseconds for it: not with each new value, and not with each moment.

export class DrawPace {
  #hasNews = false;
  #drawnAtMs = -Infinity;
  /** @type {{fromMs: number, toMs: number}} the time range of the last drawing */
  range = { fromMs: 0, toMs: 0 };

  /**
   * @param {number} newsMs how long new values may wait
   * @param {number} moveMs how far the time range may move
   */
  constructor(newsMs, moveMs) {
    Object.assign(this, { newsMs, moveMs });
  }

  /** Note that there are new values. @returns {boolean} whether they can be drawn at once */
  noteNews() {
    this.#hasNews = true;
    return this.#isLate;
  }

  /** @param {{fromMs: number, toMs: number}} range @returns {boolean} whether it is time to draw */
  isDue({ fromMs, toMs }) {
    const movedMs = Math.max(Math.abs(fromMs - this.range.fromMs), Math.abs(toMs - this.range.toMs));
    return movedMs >= this.moveMs || this.#isLate;
  }

  /** Note that the chart draws now. @param {{fromMs: number, toMs: number}} range */
  begin(range) {
    this.#hasNews = false;
    // By the local clock: that of a replay may stand still.
    this.#drawnAtMs = performance.now();
    this.range = range;
  }

  get #isLate() {
    return this.#hasNews && performance.now() - this.#drawnAtMs >= this.newsMs;
  }
}
