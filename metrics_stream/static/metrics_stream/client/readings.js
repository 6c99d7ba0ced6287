// The values that a panel shows now: its fields of all live sources and agents, as a flat list.

import { lookUp } from "./path.js";

/** A source that has been silent this much longer than the others is not live any more. */
const SILENT_MS = 15_000;

/**
 * @typedef {object} Reading
 * @property {string} key unique within the panel, and stable
 * @property {{path: string, label: string, unit: string}} field
 * @property {unknown} value
 * @property {string} source
 * @property {string | null} agentId
 * @property {string} label what distinguishes it for a person: field, agent and source as far as they differ
 * @property {Series | null} series its past, for numbers
 */

/**
 * Return the newest data of each live source, and of each agent where the type has entries.
 *
 * @param {Store} store
 * @param {string} metricType
 * @param {string | null} source only this one
 * @returns {Latest[]}
 */
export function presentOf(store, metricType, source) {
  const newestMs = store.newest(metricType)?.receivedAtMs ?? 0;
  return store.latest(metricType, source).filter(({ receivedAtMs }) => newestMs - receivedAtMs <= SILENT_MS);
}

/**
 * Return the panel's readings, field by field.
 *
 * @param {Store} store
 * @param {object} panel as in the page configuration
 * @param {string | null} source only this one
 * @returns {Reading[]}
 */
export function readingsOf(store, panel, source) {
  const readings = [];
  const present = presentOf(store, panel.metric_type, source);
  for (const field of panel.fields) {
    const past = store.series(panel.metric_type, field.path, source);
    for (const latest of present) {
      const value = lookUp(latest.data, field.path);
      if (value === undefined) continue;
      readings.push({
        key: [latest.source, latest.agentId ?? "", field.path].join("\u0000"),
        field,
        value,
        source: latest.source,
        agentId: latest.agentId,
        agentName: latest.data.agent_name ?? latest.agentId,
        series: past.find((each) => each.source === latest.source && each.agentId === latest.agentId) ?? null,
      });
    }
  }
  return label(readings);
}

/**
 * Return the panel's series with labels, including silent sources that are still on the chart.
 *
 * Where a label says `(worst)`, a point that represents several percentiles is the highest of them.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {string | null} source
 * @returns {Reading[]}
 */
export function linesOf(store, panel, source) {
  const lines = panel.fields.flatMap((field) =>
    store.series(panel.metric_type, field.path, source).map((series) => ({
      key: [series.source, series.agentId ?? "", field.path].join("\u0000"),
      field,
      value: series.lastValue,
      source: series.source,
      agentId: series.agentId,
      agentName: series.agentName,
      series,
    })),
  );
  label(lines);
  for (const line of lines) if (line.series.isWorst) line.label += " (worst)";
  return lines;
}

/**
 * Return when a value for this panel last arrived, in server-corrected milliseconds, or null if none ever did.
 *
 * A panel becomes stale when its own fields stop, even while other fields of its metric type continue.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {string | null} source
 * @returns {number | null}
 */
export function lastReceivedMs(store, panel, source) {
  const series = panel.fields.flatMap(({ path }) => [
    ...store.series(panel.metric_type, path, source),
    ...store.sketches(panel.metric_type, path, source),
  ]);
  const found = series.length ? series : store.latest(panel.metric_type, source);
  return found.reduce((newest, { receivedAtMs }) => Math.max(newest ?? receivedAtMs, receivedAtMs), null);
}

/** @param {string[]} labels @returns {string[]} without the words that all of them start with */
function withoutSharedStart(labels) {
  if (labels.length < 2) return labels;
  const words = labels.map((text) => text.split(" "));
  let shared = 0;
  while (words.every((list) => list.length > shared + 1 && list[shared] === words[0][shared])) shared += 1;
  return words.map((list) => list.slice(shared).join(" "));
}

function label(readings) {
  const several = (pick) => new Set(readings.map(pick)).size > 1;
  const fields = several((each) => each.field.path);
  // A single agent is named, too: the reading is about it.
  const agents = readings.some((each) => each.agentId !== null);
  const sources = several((each) => each.source);
  // "Response time p50, p95, p99": the shared words are in the panel's title, and legends have little room.
  const paths = [...new Map(readings.map(({ field }) => [field.path, field.label]))];
  const short = withoutSharedStart(paths.map(([, text]) => text));
  const fieldLabels = new Map(paths.map(([path], index) => [path, fields ? short[index] : paths[index][1]]));
  for (const reading of readings) {
    const parts = [];
    if (agents && reading.agentId !== null) parts.push(reading.agentName);
    if (fields || (!agents && !sources)) parts.push(fieldLabels.get(reading.field.path));
    if (sources) parts.push(reading.source);
    reading.label = parts.join(" · ");
  }
  return readings;
}

/**
 * Return the level of a value by the panel's thresholds.
 *
 * @param {number} value
 * @param {{warning_at: number | null, critical_at: number | null}} panel
 * @returns {"none" | "good" | "warn" | "bad"} none without thresholds or without a value
 */
export function levelOf(value, { warning_at: warningAt, critical_at: criticalAt }) {
  if (typeof value !== "number" || Number.isNaN(value)) return "none";
  if (warningAt === null && criticalAt === null) return "none";
  // With critical below warning, low values are bad; with one threshold alone, high values are.
  const lowIsBad = warningAt !== null && criticalAt !== null && criticalAt < warningAt;
  const reached = (limit) => limit !== null && (lowIsBad ? value <= limit : value >= limit);
  if (reached(criticalAt)) return "bad";
  return reached(warningAt) ? "warn" : "good";
}

/** Words that producers use for a state, and their levels. */
const LEVELS = new Map([
  ["healthy", "good"],
  ["ok", "good"],
  ["up", "good"],
  ["active", "good"],
  ["online", "good"],
  ["operational", "good"],
  ["running", "good"],
  ["degraded", "warn"],
  ["warning", "warn"],
  ["slow", "warn"],
  ["recovering", "warn"],
  ["unhealthy", "bad"],
  ["critical", "bad"],
  ["failed", "bad"],
  ["failing", "bad"],
  ["down", "bad"],
  ["offline", "bad"],
  ["error", "bad"],
]);

/**
 * Return the level of a word for a state.
 *
 * @param {unknown} word healthy, degraded, unhealthy and common synonyms
 * @returns {"none" | "good" | "warn" | "bad"}
 */
export function levelOfWord(word) {
  return LEVELS.get(String(word).toLowerCase()) ?? "none";
}

/**
 * @param {string[]} levels
 * @returns {"none" | "good" | "warn" | "bad"}
 */
export function worst(levels) {
  return ["bad", "warn", "good"].find((level) => levels.includes(level)) ?? "none";
}
