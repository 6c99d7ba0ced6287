// Sketches of many values (DDSketch), as producers publish them: counts by bins whose bounds grow by a constant factor.
// The numbers are those of core/metrics/sketch.py.

const ACCURACY = 0.01;

/**
 * The natural logarithm of the factor between the bounds of a bin: bin n holds values over e^(WIDTH·(n-1)), up to
 * e^(WIDTH·n).
 */
export const WIDTH = Math.log1p((2 * ACCURACY) / (1 - ACCURACY));

/** The most bins of a sketch; with more, the lowest are merged into one. */
export const MAX_BINS = 2048;

/** Beyond this number of a bin its bounds are not finite. */
const MAX_BIN = Math.floor(Math.log(Number.MAX_VALUE) / WIDTH);

export class Sketch {
  constructor() {
    /** @type {Map<number, number>} the count of values by bin */
    this.bins = new Map();
    /** How many values are zero. */
    this.zeros = 0;
    this.max = -Infinity;
  }

  /** @returns {number} how many values it counts */
  get count() {
    let count = this.zeros;
    for (const each of this.bins.values()) count += each;
    return count;
  }

  /** Count the values of another sketch, too. @param {Sketch} other */
  merge(other) {
    for (const [bin, count] of other.bins) this.bins.set(bin, (this.bins.get(bin) ?? 0) + count);
    this.zeros += other.zeros;
    this.max = Math.max(this.max, other.max);
    if (this.bins.size > MAX_BINS) this.#collapse();
  }

  /**
   * Return the values at shares of the count, within 1 %: among the sorted values those with the index
   * floor(share · count), as core/metrics/percentiles.py does.
   *
   * @param {number[]} shares 0–1, in ascending order
   * @returns {number[]} empty while nothing is counted
   */
  quantiles(shares) {
    const { count } = this;
    if (count === 0) return [];
    const sorted = [...this.bins].sort(([a], [b]) => a - b);
    let passed = this.zeros;
    let value = 0;
    let next = 0;
    return shares.map((share) => {
      const rank = Math.min(count - 1, Math.floor(share * count));
      while (passed <= rank && next < sorted.length) {
        const [bin, inBin] = sorted[next];
        passed += inBin;
        value = Math.exp(WIDTH * bin) * (1 - ACCURACY);
        next += 1;
      }
      return Math.min(value, this.max);
    });
  }

  #collapse() {
    const bins = [...this.bins.keys()].sort((a, b) => a - b);
    const lowest = bins[bins.length - MAX_BINS];
    for (const bin of bins.slice(0, -MAX_BINS)) {
      this.bins.set(lowest, this.bins.get(lowest) + this.bins.get(bin));
      this.bins.delete(bin);
    }
  }
}

/**
 * Return the sketch in a metric's data.
 *
 * @param {unknown} value as published: {accuracy, bins: {number: count}, zeros?, max?}
 * @returns {Sketch | null} null if it is not a sketch of this accuracy, or has more than MAX_BINS bins
 */
export function decodeSketch(value) {
  if (value === null || typeof value !== "object" || value.accuracy !== ACCURACY) return null;
  const { bins, zeros = 0, max = null } = value;
  if (bins === null || typeof bins !== "object" || Array.isArray(bins) || !isCount(zeros)) return null;
  const sketch = new Sketch();
  for (const [key, count] of Object.entries(bins)) {
    const bin = Number(key);
    const isValid = Number.isInteger(bin) && Math.abs(bin) <= MAX_BIN && isCount(count);
    if (!isValid || sketch.bins.size >= MAX_BINS) return null;
    if (count > 0) sketch.bins.set(bin, count);
  }
  sketch.zeros = zeros;
  if (sketch.bins.size > 0 || zeros > 0) sketch.max = typeof max === "number" ? max : Infinity;
  return sketch;
}

function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0;
}
