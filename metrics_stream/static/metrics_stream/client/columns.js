// Several series as columns, for charts: one column of times, and one of values per series.

/** A chart shows at least this much time, or the first few points would rush across it. */
const SHORTEST_VIEW_MS = 60_000;

/**
 * Return the left edge of a chart in milliseconds: one window back, but not before the first metric.
 *
 * @param {number} nowMs the right edge
 * @param {number} windowMs
 * @param {number | null} firstMs time of the first metric of the page
 * @returns {number}
 */
export function leftEdgeMs(nowMs, windowMs, firstMs) {
  return Math.max(nowMs - windowMs, Math.min(firstMs ?? nowMs, nowMs - SHORTEST_VIEW_MS));
}

/**
 * Return the index of the first time that is not before `atMs`.
 *
 * @param {Float64Array} times ascending
 * @param {number} atMs
 * @returns {number}
 */
export function firstFrom(times, atMs) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < atMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Return columns over the combined times of all series.
 *
 * A value is `undefined` where only another series has a point: the line continues. It is `null` where the series has
 * no point for longer than its gap: the line breaks.
 *
 * @param {Series[]} list
 * @param {number} fromMs earlier points are left out, except the last of them, from which the line enters
 * @param {number} [toMs] later points are left out, except the first of them, to which the line leaves
 * @param {"values" | "lows" | "highs"} [what] what the columns hold
 * @returns {(number | null | undefined)[][]} times in seconds, then one column per series
 */
export function joinColumns(list, fromMs, toMs = Infinity, what = "values") {
  const pieces = list.map((series) => breakAtGaps(series, fromMs, toMs, what));
  const times = pieces.map((piece) => piece.times).reduce(mergeTimes, []);
  const columns = pieces.map(({ times: own, values }) => {
    const column = new Array(times.length).fill(undefined);
    let index = 0;
    for (let row = 0; row < times.length && index < own.length; row += 1) {
      if (own[index] === times[row]) {
        column[row] = values[index];
        index += 1;
      }
    }
    return column;
  });
  return [times.map((time) => time / 1000), ...columns];
}

/** Merge two ascending lists into one, with each time once. */
function mergeTimes(one, two) {
  if (one.length === two.length && one.every((time, index) => time === two[index])) return one;
  const merged = [];
  let [left, right] = [0, 0];
  while (left < one.length || right < two.length) {
    const time = Math.min(one[left] ?? Infinity, two[right] ?? Infinity);
    if (one[left] === time) left += 1;
    if (two[right] === time) right += 1;
    merged.push(time);
  }
  return merged;
}

function breakAtGaps(series, fromMs, toMs, what) {
  const { times, [what]: values } = series;
  const isGap = series.gaps();
  const result = { times: [], values: [] };
  const first = Math.max(0, firstFrom(times, fromMs) - 1);
  for (let index = first; index < times.length; index += 1) {
    if (index > first && isGap(index)) {
      // One millisecond after the last point: as near as possible without sharing its row.
      result.times.push(times[index - 1] + 1);
      result.values.push(null);
    }
    result.times.push(times[index]);
    result.values.push(Number.isNaN(values[index]) ? null : values[index]);
    if (times[index] > toMs) break;
  }
  return result;
}
