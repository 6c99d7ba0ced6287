// Join the points of a series with the server's summary of the past, which is by buckets of time.

import { Points } from "./points.js";

/** A pause shorter than this is never a gap, however close the points usually are. */
export const SHORTEST_GAP_MS = 3_000;

/** Fewer spacings than this do not tell what is usual. */
const FEWEST_SPACINGS = 3;

/**
 * @typedef {object} Summary
 * @property {number} fromMs the start of bucket 0
 * @property {number} bucketMs the width of a bucket
 * @property {number} untilMs no point is later
 * @property {number[]} buckets the numbers of the buckets that have values, ascending
 * @property {number[]} last the newest value in each
 * @property {number[]} [min]
 * @property {number[]} [max]
 * @property {number[]} [nulls] the numbers of the buckets without a value in which the producer said so, ascending
 */

/**
 * Return the points of a series together with those of a summary.
 *
 * Existing points stay and take over the extremes of their bucket, so joining a summary again changes nothing. Buckets
 * are further apart than points, so gaps up to `coarseUntilMs` are marked by points without a value. A line that was
 * ended because metrics were missing continues where a bucket has them. Where the producer said that there is no value,
 * the line ends.
 *
 * @param {Series} series
 * @param {Summary} summary
 * @returns {{points: Points, coarseUntilMs: number, rangedUntilMs: number}} `rangedUntilMs`: the last point of a bucket
 *   that holds several values; -Infinity for none
 */
export function joinBuckets(series, { fromMs, bucketMs, untilMs, buckets, last, min = last, max = last, nulls = [] }) {
  const { times, values, lows, highs } = series;
  const gapMs = series.gapMs();
  // A few buckets do not tell the usual distance; buckets side by side are never a gap.
  const bucketGapMs = Math.max(3 * Math.max(1, usualSpacing(buckets)) * bucketMs, SHORTEST_GAP_MS) - bucketMs;
  const points = new Points();
  let [lastMs, coveredUntilMs, index] = [-Infinity, -Infinity, 0];
  let wasBucket = false;
  let rangedUntilMs = -Infinity;
  /** @type {number | null} where the line ended before the next point */
  let endedMs = null;

  const endLine = (timeMs) => points.push((lastMs = Math.max(timeMs, lastMs + 1)), NaN);
  const putPoint = (isBucket, beginMs, endMs, timeMs, value, low, high, knownFromMs = Infinity) => {
    if (Number.isNaN(value)) {
      if (endedMs !== null) endLine(endedMs);
      endedMs = timeMs;
      return;
    }
    if (endedMs !== null && !isBucket && endedMs < knownFromMs) endLine(endedMs);
    endedMs = null;
    const limitMs = isBucket !== wasBucket ? Math.max(gapMs, bucketGapMs) : isBucket ? bucketGapMs : gapMs;
    const knownUntilMs = Math.max(coveredUntilMs, isBucket ? -Infinity : series.coarseUntilMs);
    if (lastMs > -Infinity && beginMs - knownUntilMs > limitMs) endLine(lastMs + 1);
    coveredUntilMs = endMs;
    wasBucket = isBucket;
    lastMs = Math.max(timeMs, lastMs + 1);
    points.push(lastMs, value, low, high);
  };
  const putPointsUntil = (endMs, knownFromMs) => {
    let found = null;
    for (; index < times.length && times[index] < endMs; index += 1) {
      const time = times[index];
      putPoint(false, time, time, time, values[index], lows[index], highs[index], knownFromMs);
      if (Number.isNaN(values[index])) continue;
      const [low, high] = [
        Math.min(lows[index], found?.low ?? Infinity),
        Math.max(highs[index], found?.high ?? -Infinity),
      ];
      found = { place: points.length - 1, low, high };
    }
    return found;
  };

  let nullCount = 0;
  const putNullsUntil = (end) => {
    for (; nulls[nullCount] < end; nullCount += 1) {
      const beginMs = fromMs + nulls[nullCount] * bucketMs;
      putPointsUntil(beginMs);
      if (putPointsUntil(beginMs + bucketMs, beginMs) !== null) continue;
      endedMs = null;
      if (lastMs > -Infinity) endLine(Math.min(beginMs + bucketMs / 2, untilMs));
    }
  };

  buckets.forEach((bucket, place) => {
    const [beginMs, endMs] = [fromMs + bucket * bucketMs, fromMs + (bucket + 1) * bucketMs];
    putNullsUntil(bucket);
    putPointsUntil(beginMs);
    const own = putPointsUntil(endMs, beginMs);
    if (own === null) {
      putPoint(true, beginMs, endMs, Math.min((beginMs + endMs) / 2, untilMs), last[place], min[place], max[place]);
      if (min[place] !== max[place]) rangedUntilMs = lastMs;
    } else if (min[place] < own.low || max[place] > own.high) {
      points.widen(own.place, min[place], max[place]);
    }
  });
  putNullsUntil(Infinity);
  putPointsUntil(Infinity);
  if (endedMs !== null) endLine(endedMs);
  const endMs = buckets.length ? fromMs + (buckets.at(-1) + 1) * bucketMs : -Infinity;
  return { points, coarseUntilMs: Math.max(series.coarseUntilMs, Math.min(endMs, untilMs)), rangedUntilMs };
}

/**
 * Return the usual distance between numbers.
 *
 * @param {ArrayLike<number>} numbers ascending
 * @returns {number} the median distance; 0 for too few numbers
 */
export function usualSpacing(numbers) {
  const found = [];
  for (let index = 1; index < numbers.length; index += 1) found.push(numbers[index] - numbers[index - 1]);
  if (found.length < FEWEST_SPACINGS) return 0;
  found.sort((a, b) => a - b);
  return found[found.length >> 1];
}
