// What a line chart draws: the values of its lines at rows of time, or, where points are denser than pixels, what they
// cover in each column of pixels. So drawing costs what the screen is wide, however many points there are.
// Room: client; pure.

import { firstFrom, joinColumns } from "./columns.js";

/** Fewer points than this are drawn one by one, however dense they are. */
const FEWEST_DENSE = 32;

/**
 * @typedef {(number | null | undefined)[]} Column undefined where only other lines have a point, null where it breaks
 *
 * @typedef {object} Trace one line; all columns are the same one where no row holds more than one point
 * @property {Column} values the newest of each row
 * @property {Column} lows
 * @property {Column} highs
 * @property {boolean} dense whether its points are denser than pixels
 *
 * @typedef {object} LineGeometry
 * @property {number[]} times of the rows, in seconds
 * @property {number} firstColumn the number of the first row's column, counted from the epoch; 0 when rows are points
 * @property {Trace[]} traces
 */

/**
 * Return the picture of series within a time window.
 *
 * @param {Series[]} list
 * @param {number} fromMs the left edge
 * @param {number} toMs the right edge
 * @param {number} width in pixels as CSS counts them: two points closer than that cannot be told apart
 * @returns {LineGeometry}
 */
export function lineGeometry(list, fromMs, toMs, width) {
  const columnMs = (toMs - fromMs) / width;
  const dense = list.map((series) => isDense(series, fromMs, toMs, columnMs));
  if (!dense.includes(true)) return pointGeometry(list, fromMs, toMs);
  // Columns are counted from the epoch, so that the same points share one while the picture moves, and its shape stays.
  const firstColumn = Math.floor(fromMs / columnMs) - 1;
  const rows = Math.floor(toMs / columnMs) - firstColumn + 1;
  return {
    times: Array.from({ length: rows }, (_, row) => ((firstColumn + row + 0.5) * columnMs) / 1000),
    firstColumn,
    traces: list.map((series, index) => ({ ...collectColumns(series, toMs, firstColumn, rows, columnMs), dense: dense[index] })),
  };
}

function pointGeometry(list, fromMs, toMs) {
  const [times, ...values] = joinColumns(list, fromMs, toMs);
  if (!list.some((series) => series.hasRanges)) {
    return { times, firstColumn: 0, traces: values.map((column) => ({ values: column, lows: column, highs: column, dense: false })) };
  }
  const [, ...lows] = joinColumns(list, fromMs, toMs, "lows");
  const [, ...highs] = joinColumns(list, fromMs, toMs, "highs");
  const traces = values.map((column, index) => ({ values: column, lows: lows[index], highs: highs[index], dense: false }));
  return { times, firstColumn: 0, traces };
}

/**
 * Return a picture in which each line stands on the ones before it.
 *
 * Between its points a line counts with its last value, in a gap with nothing.
 *
 * @param {LineGeometry} geometry
 * @param {(index: number) => boolean} [isShown] nothing stands on the other lines
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
 * Return the lowest and the highest value of the lines that are shown, or nulls when there is none.
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
  // From the last point before the picture on, from which the line enters, to the first one behind it.
  const first = Math.max(0, firstFrom(times, firstColumn * columnMs) - 1);
  let lastRow = -1;
  let isBroken = false;
  for (let index = first; index < times.length; index += 1) {
    const value = values[index];
    const row = Math.min(Math.max(Math.floor(times[index] / columnMs) - firstColumn, 0), rows - 1);
    // A pause that leaves no column empty cannot be seen.
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
