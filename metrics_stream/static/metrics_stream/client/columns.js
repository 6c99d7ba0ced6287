// Several series side by side, as charts want them: one column of times, one of values per series. Room: client; pure.

/** A chart never shows less than this, or the first few points would rush across it. */
const SHORTEST_VIEW_MS = 60_000;

/**
 * Return the left edge of a chart in milliseconds: the window wide, but no further back than there is anything to see.
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
 * Return columns over the times of all series together.
 *
 * A value is `undefined` where only another series has a point, so the line goes on, and `null` where nothing came for
 * longer than the series' gap, so the line breaks.
 *
 * @param {Series[]} list
 * @param {number} fromMs points before this are left out, except the last one, from which the line enters
 * @returns {(number | null | undefined)[][]} times in seconds, then one column of values per series
 */
export function joinColumns(list, fromMs) {
  const pieces = list.map((series) => breakAtGaps(series, fromMs));
  const times = [...new Set(pieces.flatMap((piece) => piece.times))].sort((a, b) => a - b);
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

/**
 * Return a copy of the columns in which each series stands on the ones before it.
 *
 * Between its points a series counts with its last value, in a gap with nothing.
 *
 * @param {(number | null | undefined)[][]} columns as joinColumns returns them
 * @returns {(number | null)[][]}
 */
export function stackColumns([times, ...columns]) {
  const sums = new Array(times.length).fill(0);
  const stacked = columns.map((column) => {
    let held = null;
    return column.map((_, row) => {
      if (column[row] !== undefined) held = column[row];
      sums[row] += held ?? 0;
      return held === null ? null : sums[row];
    });
  });
  return [times, ...stacked];
}

function breakAtGaps(series, fromMs) {
  const { times, values } = series;
  const gapMs = series.gapMs();
  const result = { times: [], values: [] };
  let first = 0;
  while (first + 1 < times.length && times[first + 1] < fromMs) first += 1;
  for (let index = first; index < times.length; index += 1) {
    if (index > first && times[index] - times[index - 1] > gapMs) {
      // One millisecond after the last point: as near as another point can be without sharing its row.
      result.times.push(times[index - 1] + 1);
      result.values.push(null);
    }
    result.times.push(times[index]);
    result.values.push(Number.isNaN(values[index]) ? null : values[index]);
  }
  return result;
}
