// Sketches over time as a grid: how many values are in each cell of time and of size.

import { WIDTH } from "./sketch.js";

/** Widths of the cells in seconds. */
const CELLS_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 21_600, 86_400];

/** One value alone is no line as high as the chart. */
const FEWEST_ROWS = 12;

/**
 * @typedef {object} SketchGrid
 * @property {number} cellMs the width of a column
 * @property {number} firstColumn the number of the first column, counted from the epoch
 * @property {number} columnCount
 * @property {number} rowCount
 * @property {number} low the lower bound of the lowest row
 * @property {number} high the upper bound of the highest row
 * @property {Float64Array} counts by row within column, the lowest row first
 * @property {number} most the largest of the counts
 * @property {number} total how many values there are
 * @property {number} zeros how many of them are zero, and so are in no row
 */

/**
 * Count the values of sketches in cells.
 *
 * @param {SketchSeries[]} list
 * @param {{fromMs: number, toMs: number}} range
 * @param {{columns: number, rows: number}} most how many fit
 * @returns {SketchGrid}
 */
export function gridOfSketches(list, { fromMs, toMs }, { columns, rows }) {
  const shortestMs = Math.max((toMs - fromMs) / columns, ...list.map(({ cellMs }) => cellMs));
  const cellMs = 1000 * (CELLS_SECONDS.find((seconds) => 1000 * seconds >= shortestMs) ?? CELLS_SECONDS.at(-1));
  const firstColumn = Math.floor(fromMs / cellMs);
  const columnCount = Math.floor(toMs / cellMs) - firstColumn + 1;
  const shown = list.flatMap(({ cells }) => cells.filter(({ timeMs }) => timeMs >= firstColumn * cellMs && timeMs <= toMs));
  const { first, rowCount, size } = rowsFor(shown, rows);
  const counts = new Float64Array(rowCount * columnCount);
  let [total, zeros] = [0, 0];
  for (const { timeMs, sketch } of shown) {
    const start = (Math.floor(timeMs / cellMs) - firstColumn) * rowCount;
    for (const [bin, count] of sketch.bins) {
      counts[start + Math.floor((bin - 1) / size) - first] += count;
      total += count;
    }
    zeros += sketch.zeros;
  }
  const bound = (row) => Math.exp(WIDTH * row * size);
  return {
    cellMs,
    firstColumn,
    columnCount,
    rowCount,
    low: bound(first),
    high: bound(first + rowCount),
    counts,
    most: counts.reduce((largest, count) => Math.max(largest, count), 0),
    total: total + zeros,
    zeros,
  };
}

/** Return the rows that hold all bins: a power of two of bins each, so that they keep their bounds. */
function rowsFor(cells, most) {
  let [lowest, highest] = [Infinity, -Infinity];
  for (const { sketch } of cells) {
    for (const bin of sketch.bins.keys()) {
      if (bin - 1 < lowest) lowest = bin - 1;
      if (bin - 1 > highest) highest = bin - 1;
    }
  }
  if (lowest > highest) return { first: 0, rowCount: 0, size: 1 };
  let size = 1;
  while (Math.floor(highest / size) - Math.floor(lowest / size) >= most) size *= 2;
  let [first, last] = [Math.floor(lowest / size), Math.floor(highest / size)];
  while (last - first + 1 < Math.min(FEWEST_ROWS, most)) [first, last] = [first - 1, last + 1];
  return { first, rowCount: last - first + 1, size };
}
