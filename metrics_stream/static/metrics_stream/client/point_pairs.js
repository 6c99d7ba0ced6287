// Two fields of one metric type at the same instants, as points of a plane.

import { firstFrom } from "./columns.js";

/** More points cannot be told apart; the newest are kept. */
const MAX_POINTS = 2_000;

/** Values of two fields belong together up to this distance: buckets and cells of time may differ by a little. */
const SAME_MS = 500;

/**
 * @typedef {object} PointPair
 * @property {number} x
 * @property {number} y
 * @property {number} timeMs
 * @property {string} name of the source and row, where there are several
 */

/**
 * Return the points of a panel with two fields.
 *
 * @param {Store} store
 * @param {object} panel the first field is x, the second one y
 * @param {Sources} source only of these
 * @param {{fromMs: number, toMs: number}} range
 * @returns {PointPair[]} oldest first
 */
export function pointsOf(store, panel, source, { fromMs, toMs }) {
  const { metric_type: metricType } = panel;
  const [across, up] = panel.fields;
  const list = store.series(metricType, across.path, source);
  const isOneSource = new Set(list.map((series) => series.source)).size <= 1;
  const points = [];
  for (const xs of list) {
    const ys = store.find({ metricType, source: xs.source, row: xs.row, path: up.path });
    if (ys === null) continue;
    const name = [xs.label, isOneSource ? "" : xs.source].filter(Boolean).join(" · ");
    addPairs(points, xs, ys, { fromMs, toMs, name });
  }
  points.sort((a, b) => a.timeMs - b.timeMs);
  return points.slice(-MAX_POINTS);
}

/**
 * Return the range of an axis for points.
 *
 * @param {PointPair[]} points
 * @param {"x" | "y"} side
 * @returns {{min: number, max: number}} from zero, or from the lowest value below it
 */
export function boundsOf(points, side) {
  let [low, high] = [0, 0];
  for (const point of points) {
    low = Math.min(low, point[side]);
    high = Math.max(high, point[side]);
  }
  if (high <= low) return { min: low, max: low + 1 };
  const room = 0.06 * (high - low);
  return { min: low < 0 ? low - room : 0, max: high + room };
}

function addPairs(points, xs, ys, { fromMs, toMs, name }) {
  const { times: timesOfX, values: valuesOfX } = xs;
  const { times: timesOfY, values: valuesOfY } = ys;
  let next = firstFrom(timesOfY, fromMs - SAME_MS);
  for (let index = firstFrom(timesOfX, fromMs); index < timesOfX.length && timesOfX[index] <= toMs; index += 1) {
    const timeMs = timesOfX[index];
    while (next < timesOfY.length && timesOfY[next] < timeMs - SAME_MS) next += 1;
    if (next >= timesOfY.length) return;
    const [x, y] = [valuesOfX[index], valuesOfY[next]];
    if (Math.abs(timesOfY[next] - timeMs) > SAME_MS || !Number.isFinite(x) || !Number.isFinite(y)) continue;
    points.push({ x, y, timeMs, name });
  }
}
