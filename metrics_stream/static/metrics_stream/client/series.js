// The numbers of one field of one source or row over time, bounded in time and in count.

import { joinBuckets, SHORTEST_GAP_MS, usualSpacing } from "./buckets.js";
import { USUAL } from "./levels.js";
import { Points } from "./points.js";

/** The most points of one series; a 4K screen has no more columns. Denser points are merged. */
export const MAX_POINTS = 4096;

/**
 * Widths of the cells in which points are merged, in milliseconds. Cells are counted from the epoch, and a second holds
 * whole cells or a cell whole seconds, so that the server's buckets cover the same values.
 */
const CELLS_MS = [
  ...[1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000],
  ...[120_000, 300_000, 600_000, 1_800_000, 3_600_000, 21_600_000],
];

/** The usual spacing is that of this many newest points. */
const SPACING_SAMPLES = 32;

/** Points over time, oldest first, not older than the window. */
export class Series {
  #points = new Points();
  #windowMs = 0;
  #cellMs = 1;
  // Whether there may be points of narrower cells than today's.
  #hasFinerPoints = false;
  /** @type {{untilMs: number, bucketMs: number}[]} stretches of buckets that hold several values each */
  #ranged = [];

  /**
   * @param {Identity} identity
   * @param {number} windowMs how far back the page shows
   */
  constructor(identity, windowMs) {
    Object.assign(this, identity);
    /** @type {string | null} the name of the row for people, as last seen */
    this.label = null;
    /** How good the state of the row is: the worse, the lower. */
    this.severity = USUAL;
    this.windowMs = windowMs;
    /** @type {string | null} the unit that the producer states */
    this.unit = null;
    /** @type {number | null} over how many seconds each value was measured, as the producer states */
    this.windowSeconds = null;
    /** Whether points that represent several percentiles are the worst of them. */
    this.isWorst = false;
    this.lastTimeMs = -Infinity;
    this.lastValue = NaN;
    this.receivedAtMs = -Infinity;
    /** Up to here points may be buckets, which are far apart; there the line breaks only at points without a value. */
    this.coarseUntilMs = -Infinity;
  }

  get windowMs() {
    return this.#windowMs;
  }

  set windowMs(milliseconds) {
    this.#windowMs = milliseconds;
    const cellMs = CELLS_MS.find((each) => each >= milliseconds / MAX_POINTS) ?? CELLS_MS.at(-1);
    if (cellMs > this.#cellMs) this.#hasFinerPoints = true;
    this.#cellMs = cellMs;
  }

  get length() {
    return this.#points.length;
  }

  /** @returns {number} points for which memory is allocated, for tests */
  get capacity() {
    return this.#points.capacity;
  }

  /** @returns {boolean} whether points may have a low and a high beside their value */
  get hasRanges() {
    return this.#points.hasRanges;
  }

  /** @returns {Float64Array} times in milliseconds; a view, which the next change may alter */
  get times() {
    return this.#points.times;
  }

  /** @returns {Float64Array} the newest value of each point, NaN for none; a view, too */
  get values() {
    return this.#points.values;
  }

  /** @returns {Float64Array} the lowest values of the points */
  get lows() {
    return this.#points.lows;
  }

  /** @returns {Float64Array} the highest values of the points */
  get highs() {
    return this.#points.highs;
  }

  /**
   * Add one value; adding it again changes nothing.
   *
   * @param {number} timeMs
   * @param {number} value NaN: no value
   */
  add(timeMs, value) {
    if (timeMs < this.lastTimeMs - this.windowMs) return;
    if (timeMs >= this.lastTimeMs) {
      this.lastTimeMs = timeMs;
      this.lastValue = value;
    }
    const points = this.#points;
    const { length } = points;
    let index = length;
    while (index > 0 && points.timeAt(index - 1) > timeMs) index -= 1;
    const cell = Math.floor(timeMs / this.#cellMs);
    if (index > 0 && this.#cellOf(index - 1) === cell) this.#mergeInto(index - 1, timeMs, value);
    else if (index < length && this.#cellOf(index) === cell) this.#mergeInto(index, timeMs, value);
    else if (index === length) points.push(timeMs, value);
    else points.insert(index, timeMs, value);
    this.trim(this.lastTimeMs);
  }

  /** End the line: the values between its newest point and the next one are unknown. */
  break() {
    const points = this.#points;
    const newest = points.length - 1;
    // One millisecond after the last point: as near as possible.
    if (newest >= 0 && !Number.isNaN(points.valueAt(newest))) points.push(points.timeAt(newest) + 1, NaN);
  }

  /**
   * Add the server's summary by buckets of time.
   *
   * Existing points stay and take over the extremes of their bucket, so adding a summary again changes nothing.
   *
   * @param {Summary} summary
   */
  fill(summary) {
    const { points, coarseUntilMs, rangedUntilMs } = joinBuckets(this, summary);
    this.#points = points;
    this.coarseUntilMs = coarseUntilMs;
    if (rangedUntilMs > -Infinity) this.#ranged.push({ untilMs: rangedUntilMs, bucketMs: summary.bucketMs });
    const newest = points.length - 1;
    if (newest >= 0 && points.timeAt(newest) > this.lastTimeMs) {
      this.lastTimeMs = points.timeAt(newest);
      this.lastValue = points.valueAt(newest);
    }
    this.trim(this.lastTimeMs);
  }

  /**
   * Forget points older than the window, except one, from which the line enters the chart.
   *
   * @param {number} nowMs
   */
  trim(nowMs) {
    const oldestMs = nowMs - this.windowMs;
    if (this.#hasFinerPoints && this.length > MAX_POINTS) this.#mergeFinerPoints();
    const points = this.#points;
    let count = Math.max(0, points.length - MAX_POINTS);
    while (count + 1 < points.length && points.timeAt(count + 1) < oldestMs) count += 1;
    points.drop(count);
    this.#ranged = this.#ranged.filter(({ untilMs }) => untilMs > oldestMs);
  }

  /** @param {number} fromMs @returns {number} the width of the widest buckets with ranges after this time; 0 for none */
  rangedBucketMs(fromMs) {
    const widths = this.#ranged.map(({ untilMs, bucketMs }) => (untilMs > fromMs ? bucketMs : 0));
    return Math.max(0, ...widths);
  }

  /** @returns {number} the median of recent spacings in milliseconds; 0 while there are too few points */
  usualSpacingMs() {
    return usualSpacing(this.times.subarray(-SPACING_SAMPLES - 1));
  }

  /** @returns {number} a pause longer than this, in milliseconds, is a gap */
  gapMs() {
    return Math.max(3 * this.usualSpacingMs(), SHORTEST_GAP_MS);
  }

  /** @returns {(index: number) => boolean} whether the line breaks before a point; valid until the next change */
  gaps() {
    const { times, coarseUntilMs } = this;
    const gapMs = this.gapMs();
    return (index) => index > 0 && times[index] - Math.max(times[index - 1], coarseUntilMs) > gapMs;
  }

  /** Merge the points of narrower cells, instead of forgetting the oldest of them. */
  #mergeFinerPoints() {
    const { times, values, lows, highs } = this;
    const points = new Points();
    let last = null;
    times.forEach((timeMs, index) => {
      const cell = Number.isNaN(values[index]) ? null : Math.floor(timeMs / this.#cellMs);
      if (cell !== null && cell === last) {
        points.widen(points.length - 1, lows[index], highs[index]);
        points.setValue(points.length - 1, values[index]);
      } else {
        points.push(timeMs, values[index], lows[index], highs[index]);
      }
      last = cell;
    });
    this.#points = points;
    this.#hasFinerPoints = false;
  }

  #cellOf(index) {
    return Math.floor(this.#points.timeAt(index) / this.#cellMs);
  }

  #mergeInto(index, timeMs, value) {
    if (Number.isNaN(value)) return;
    const points = this.#points;
    // Of merged points the extremes stay, so that a spike never vanishes.
    if (!Number.isNaN(points.valueAt(index))) points.widen(index, value, value);
    if (timeMs >= points.timeAt(index)) points.setValue(index, value);
  }
}
