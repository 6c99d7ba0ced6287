// Points and what the server summed up over buckets of time, joined into one line. Room: client; pure.

import { Points } from "./points.js";

/** A pause shorter than this is never a gap, whatever the usual spacing. */
export const SHORTEST_GAP_MS = 3_000;

/** Fewer than this say nothing about the usual spacing. */
const FEWEST_SPACINGS = 3;

/**
 * @typedef {object} Summary
 * @property {number} fromMs where bucket 0 begins
 * @property {number} bucketMs how wide each one is
 * @property {number} untilMs no point is putPoint behind it
 * @property {number[]} buckets the numbers of those that have values, ascending
 * @property {number[]} last the newest value in each
 * @property {number[]} [min]
 * @property {number[]} [max]
 */

/**
 * Return the points of a series together with those of a summary.
 *
 * Points that are there already stay, and stand for what else their bucket held; so the same may be joined again. As
 * buckets lie further apart than points, gaps up to `coarseUntilMs` are points without a value. Where a line was ended
 * because something was missing, it goes on when a bucket has what was missing.
 *
 * @param {Series} series
 * @param {Summary} summary
 * @returns {{points: Points, coarseUntilMs: number}}
 */
export function joinBuckets(series, { fromMs, bucketMs, untilMs, buckets, last, min = last, max = last }) {
  const { times, values, lows, highs } = series;
  const gapMs = series.gapMs();
  // A few buckets do not say how far they lie apart usually; next to each other is no gap in any case.
  const bucketGapMs = Math.max(3 * Math.max(1, usualSpacing(buckets)) * bucketMs, SHORTEST_GAP_MS) - bucketMs;
  const points = new Points();
  let [lastMs, coveredUntilMs, index] = [-Infinity, -Infinity, 0];
  let wasBucket = false;
  /** @type {number | null} where the line ended before what comes next */
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
      const [low, high] = [Math.min(lows[index], found?.low ?? Infinity), Math.max(highs[index], found?.high ?? -Infinity)];
      found = { place: points.length - 1, low, high };
    }
    return found;
  };

  buckets.forEach((bucket, place) => {
    const [beginMs, endMs] = [fromMs + bucket * bucketMs, fromMs + (bucket + 1) * bucketMs];
    putPointsUntil(beginMs);
    const own = putPointsUntil(endMs, beginMs);
    if (own === null) {
      putPoint(true, beginMs, endMs, Math.min((beginMs + endMs) / 2, untilMs), last[place], min[place], max[place]);
    } else if (min[place] < own.low || max[place] > own.high) {
      points.widen(own.place, min[place], max[place]);
    }
  });
  putPointsUntil(Infinity);
  if (endedMs !== null) endLine(endedMs);
  const endMs = buckets.length ? fromMs + (buckets.at(-1) + 1) * bucketMs : -Infinity;
  return { points, coarseUntilMs: Math.max(series.coarseUntilMs, Math.min(endMs, untilMs)) };
}

/**
 * Return how far numbers lie apart usually.
 *
 * @param {ArrayLike<number>} numbers ascending
 * @returns {number} the median; 0 where there are too few to say
 */
export function usualSpacing(numbers) {
  const found = [];
  for (let index = 1; index < numbers.length; index += 1) found.push(numbers[index] - numbers[index - 1]);
  if (found.length < FEWEST_SPACINGS) return 0;
  found.sort((a, b) => a - b);
  return found[found.length >> 1];
}
