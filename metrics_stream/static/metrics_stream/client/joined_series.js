// The series of one row from several sources as one: what adds up is added, of everything else the worst counts.

import { usualSpacing } from "./buckets.js";
import { Series } from "./series.js";

const SHORTEST_CELL_MS = 1_000;

const SUM = (sum, value) => sum + value;

/**
 * Join series of the same field.
 *
 * Sources publish at different instants, so that values of one second go together; a source without one in a second counts
 * with its last value, as long as its line has no gap there.
 *
 * @param {Series[]} list at least one
 * @param {"sum" | "least" | "most" | "percentile" | "mean"} rule as of ruleOf
 * @returns {Series} the only one, or a new one
 */
export function joinSeries(list, rule) {
  if (list.length === 1) return list[0];
  const join = rule === "sum" ? SUM : rule === "least" ? Math.min : Math.max;
  const spacings = list.map((series) => usualSpacing(series.times.subarray(-33)));
  const cellMs = Math.max(SHORTEST_CELL_MS, ...spacings);
  const [first] = list;
  const joined = new Series({ metricType: first.metricType, source: "", row: first.row, path: first.path }, first.windowMs);
  const cells = [...new Set(list.flatMap(({ times }) => Array.from(times, (time) => Math.floor(time / cellMs))))];
  const points = cells.sort((a, b) => a - b).map((cell) => ({ timeMs: cell * cellMs, untilMs: (cell + 1) * cellMs, value: NaN }));
  for (const series of list) addTo(points, series, join);
  for (const { timeMs, value } of points) joined.add(timeMs, value);
  joined.label = first.label;
  joined.unit = list.find(({ unit }) => unit !== null)?.unit ?? null;
  joined.isWorst = rule === "percentile" || rule === "mean";
  joined.receivedAtMs = Math.max(...list.map(({ receivedAtMs }) => receivedAtMs));
  joined.coarseUntilMs = Math.max(...list.map(({ coarseUntilMs }) => coarseUntilMs));
  return joined;
}

/** Add one series to the points of all, each value also to the points at which the series has none of its own. */
function addTo(points, series, join) {
  const { times, values } = series;
  const [isGap, gapMs] = [series.gaps(), series.gapMs()];
  let next = 0;
  for (const point of points) {
    let isOwn = false;
    for (; next < times.length && times[next] < point.untilMs; next += 1) isOwn = true;
    if (next === 0) continue;
    const [timeMs, value] = [times[next - 1], values[next - 1]];
    const isContinued = next < times.length ? !isGap(next) : point.untilMs - timeMs <= gapMs;
    if (Number.isNaN(value) || !(isOwn || isContinued)) continue;
    if (isOwn) point.timeMs = Math.max(point.timeMs, timeMs);
    point.value = Number.isNaN(point.value) ? value : join(point.value, value);
  }
}
