// Points as cells of time: where the older part of a series is known by buckets with a range each, its newer points are
// gathered in cells of the same width, so that a line has one character along its length.

import { firstFrom } from "./columns.js";

/**
 * Return the points of a series around a stretch of time, one per cell; gaps are points without a value.
 *
 * @param {Series} series
 * @param {number} fromMs the point before it is included
 * @param {number} toMs the point after it is included
 * @returns {{times: number[], values: number[], lows: number[], highs: number[], hasRanges: boolean,
 *   gaps: () => (index: number) => boolean}} what geometry reads of a series
 */
export function inCells(series, fromMs, toMs) {
  const cellMs = series.rangedBucketMs(fromMs);
  if (cellMs === 0) return series;
  const { times, values, lows, highs } = series;
  const isGap = series.gaps();
  const cells = { times: [], values: [], lows: [], highs: [], hasRanges: true, gaps: () => () => false };
  const push = (timeMs, value, low = value, high = value) => {
    cells.times.push(timeMs);
    cells.values.push(value);
    cells.lows.push(low);
    cells.highs.push(high);
  };
  let last = null;
  const first = Math.max(0, firstFrom(times, Math.floor(fromMs / cellMs) * cellMs) - 1);
  for (let index = first; index < times.length; index += 1) {
    const cell = Math.floor(times[index] / cellMs);
    if (Number.isNaN(values[index])) {
      push(times[index], NaN);
      last = null;
      continue;
    }
    if (index > first && isGap(index)) {
      push(times[index - 1] + 1, NaN);
      last = null;
    }
    if (cell === last) {
      const place = cells.times.length - 1;
      cells.times[place] = times[index];
      cells.values[place] = values[index];
      cells.lows[place] = Math.min(cells.lows[place], lows[index]);
      cells.highs[place] = Math.max(cells.highs[place], highs[index]);
    } else {
      if (times[index - 1] > toMs) break;
      push(times[index], values[index], lows[index], highs[index]);
    }
    last = cell;
  }
  return cells;
}
