// Fields that sources measure over windows of different length: their numbers are not comparable.

import { statedFor } from "./units.js";

/** A text names this many sources of each window. */
const MAX_NAMED = 3;

/**
 * Return which fields of a panel come with different windows, such as "Response time p99: 10 s (locust), 1 s (k6)".
 *
 * @param {Store} store
 * @param {object} panel as in the page configuration
 * @param {Sources} source only of these
 * @returns {string} empty if all windows that are known are the same
 */
export function describeWindows(store, panel, source) {
  if (!store.hasWindows) return "";
  return panel.fields
    .map(({ label, path }) => {
      const sources = sourcesByWindow(store, panel.metric_type, path, source);
      if (sources.size < 2) return "";
      const parts = [...sources].sort(([a], [b]) => b - a).map(([seconds, names]) => `${seconds} s (${nameSome(names)})`);
      return `${label}: ${parts.join(", ")}`;
    })
    .filter(Boolean)
    .join("; ");
}

function sourcesByWindow(store, metricType, path, source) {
  const found = new Map();
  const note = (seconds, name) => {
    if (typeof seconds !== "number") return;
    if (!found.has(seconds)) found.set(seconds, new Set());
    found.get(seconds).add(name);
  };
  for (const series of store.series(metricType, path, source)) note(series.windowSeconds, series.source);
  for (const latest of store.latest(metricType, source)) note(statedFor(latest.windows, path), latest.source);
  return found;
}

function nameSome(names) {
  const shown = [...names].slice(0, MAX_NAMED).join(", ");
  return names.size > MAX_NAMED ? `${shown} and ${names.size - MAX_NAMED} more` : shown;
}
