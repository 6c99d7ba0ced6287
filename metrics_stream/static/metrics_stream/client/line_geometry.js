// What a line chart draws: the values of its lines at rows of time or, where points are denser than pixels, the range
// that they cover in each column of pixels. So the cost of drawing depends on the width of the screen, not on how many
// points there are.

import { inCells } from "./cells.js";
import { firstFrom, joinColumns } from "./columns.js";

/** Fewer points are drawn one by one, however dense they are. */
const FEWEST_DENSE = 32;

/**
 * @typedef {(number | null | undefined)[]} Column undefined: only other lines have a point; null: a break
 *
 * @typedef {object} Trace one line; where each row holds one point, the three columns are the same array
 * @property {Column} values the newest value of each row
 * @property {Column} lows
 * @property {Column} highs
 * @property {boolean} dense whether the points are denser than pixels
 *
 * @typedef {object} LineGeometry
 * @property {number[]} times of the rows, in seconds
 * @property {number} firstColumn the number of the first pixel column, counted from the epoch; 0 where rows are points
 * @property {Trace[]} traces
 */

/**
 * Return the geometry of series within a time window.
 *
 * @param {Series[]} series
 * @param {number} fromMs the left edge
 * @param {number} toMs the right edge
 * @param {number} width in CSS pixels: points that share one cannot be told apart
 * @returns {LineGeometry}
 */
export function lineGeometry(series, fromMs, toMs, width) {
  const columnMs = (toMs - fromMs) / width;
  const list = series.map((each) => inCells(each, fromMs, toMs));
  const dense = list.map((series) => isDense(series, fromMs, toMs, columnMs));
  if (!dense.includes(true)) return pointGeometry(list, fromMs, toMs);
  // Columns are counted from the epoch: the same points share one while the chart moves, so lines keep their shape.
  const firstColumn = Math.floor(fromMs / columnMs) - 1;
  const rows = Math.floor(toMs / columnMs) - firstColumn + 1;
  return {
    times: Array.from({ length: rows }, (_, row) => ((firstColumn + row + 0.5) * columnMs) / 1000),
    firstColumn,
    traces: list.map((each, index) => ({
      ...collectColumns(each, toMs, firstColumn, rows, columnMs),
      dense: dense[index],
    })),
  };
}

function pointGeometry(list, fromMs, toMs) {
  const [times, ...values] = joinColumns(list, fromMs, toMs);
  if (!list.some(({ hasRanges }) => hasRanges)) {
    return {
      times,
      firstColumn: 0,
      traces: values.map((column) => ({ values: column, lows: column, highs: column, dense: false })),
    };
  }
  const [, ...lows] = joinColumns(list, fromMs, toMs, "lows");
  const [, ...highs] = joinColumns(list, fromMs, toMs, "highs");
  const traces = values.map((column, index) => ({
    values: column,
    lows: lows[index],
    highs: highs[index],
    dense: false,
  }));
  return { times, firstColumn: 0, traces };
}

/**
 * Return a geometry in which each line is stacked on the lines before it.
 *
 * Between its points a line adds its last value, in a gap nothing.
 *
 * @param {LineGeometry} geometry
 * @param {(index: number) => boolean} [isShown] hidden lines are not part of the stack
 * @returns {LineGeometry}
 */
export function stack(geometry, isShown = () => true) {
  const sums = new Array(geometry.times.length).fill(0);
  const traces = geometry.traces.map(({ values, lows, highs, dense }, index) => {
    const stacked = { values: [], lows: [], highs: [], dense };
    let lastValue = null;
    values.forEach((value, row) => {
      if (value !== undefined) lastValue = value;
      const here = value === undefined || value === null ? lastValue : null;
      stacked.values.push(lastValue === null ? null : sums[row] + lastValue);
      stacked.lows.push(lastValue === null ? null : sums[row] + (here ?? lows[row]));
      stacked.highs.push(lastValue === null ? null : sums[row] + (here ?? highs[row]));
      if (isShown(index)) sums[row] += lastValue ?? 0;
    });
    return stacked;
  });
  return { ...geometry, traces };
}

/**
 * Return the lowest and the highest value of lines, or nulls without any value.
 *
 * @param {Trace[]} traces
 * @returns {[number | null, number | null]}
 */
export function boundsOf(traces) {
  let [low, high] = [Infinity, -Infinity];
  for (const { lows, highs } of traces) {
    for (let row = 0; row < lows.length; row += 1) {
      if (lows[row] < low && lows[row] !== null) low = lows[row];
      if (highs[row] > high && highs[row] !== null) high = highs[row];
    }
  }
  return low > high ? [null, null] : [low, high];
}

function isDense({ times }, fromMs, toMs, columnMs) {
  const first = firstFrom(times, fromMs);
  const last = firstFrom(times, toMs) - 1;
  return last - first + 1 >= FEWEST_DENSE && times[last] - times[first] < (last - first) * columnMs;
}

function collectColumns(series, toMs, firstColumn, rows, columnMs) {
  const { times, values, lows, highs } = series;
  const isGap = series.gaps();
  const empty = () => new Array(rows).fill(undefined);
  const trace = { values: empty(), lows: empty(), highs: empty() };
  const put = (row, value, low, high) => {
    trace.values[row] = value;
    trace.lows[row] = low;
    trace.highs[row] = high;
  };
  // From the last point before the left edge, where the line enters, to the first one after the right edge.
  const first = Math.max(0, firstFrom(times, firstColumn * columnMs) - 1);
  let lastRow = -1;
  let isBroken = false;
  for (let index = first; index < times.length; index += 1) {
    const value = values[index];
    const row = Math.min(Math.max(Math.floor(times[index] / columnMs) - firstColumn, 0), rows - 1);
    // A pause that leaves no column empty is not visible.
    if ((isBroken || (index > first && isGap(index))) && row > lastRow + 1) put(lastRow + 1, null, null, null);
    lastRow = row;
    const before = trace.values[row];
    isBroken = Number.isNaN(value);
    if (isBroken) {
      if (before === undefined) put(row, null, null, null);
    } else if (before === undefined || before === null) {
      put(row, value, lows[index], highs[index]);
    } else {
      put(row, value, Math.min(trace.lows[row], lows[index]), Math.max(trace.highs[row], highs[index]));
    }
    if (times[index] > toMs) break;
  }
  return trace;
}
