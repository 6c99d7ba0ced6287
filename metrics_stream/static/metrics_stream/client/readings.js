// The values that a panel shows now: its fields of all live sources and rows, as a flat list.

import { outsideWords } from "./bounds.js";
import { labelOfRow, matcherOf, readKeyTerms } from "./keys.js";
import { levelOf, levelOfWord, severityOf, USUAL } from "./levels.js";
import { compareNames } from "./names.js";
import { lookUp } from "./path.js";
import { statedUnit } from "./units.js";

/** A source that has been silent this much longer than the others is not live any more. */
const SILENT_MS = 15_000;

/** @type {WeakMap<object, (row: string) => boolean>} the filter of each panel on the keys of rows */
const filters = new WeakMap();

/**
 * @typedef {object} Field as in the page configuration
 * @property {string} path
 * @property {string} label
 * @property {string} unit
 * @property {string} [kind] how values of the field go together, as far as the catalogue knows it
 * @property {number | null} [minimum] bounds of plausible values
 * @property {number | null} [maximum]
 * @property {Record<string, string>} [units] of the parts of an object, as far as the catalogue knows them
 *
 * @typedef {object} Reading
 * @property {string} key unique within the panel, and stable
 * @property {Field} field
 * @property {unknown} value
 * @property {string} unit the panel's, else what the producer states, else the catalogue's; empty for none
 * @property {(path: string) => string} unitAt the unit of a part of an object, by its path below the value
 * @property {string} outside words for a number outside the bounds of its field; empty within
 * @property {string} source
 * @property {string | null} row the text of its key; null for a source as a whole
 * @property {string | null} rowLabel the row as a person writes it
 * @property {string} label what distinguishes it for a person: field, row and source as far as they differ
 * @property {Series | null} series its past, for numbers
 */

/**
 * Return the newest data of each source that a panel shows, and of each of its rows where the type has a key.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {Sources} source only of these
 * @returns {Latest[]} also of silent ones
 */
export function latestOf(store, panel, source) {
  const found = store.latest(panel.metric_type, source);
  if (!panel.options?.keys?.length) return found;
  const isShown = filterOf(panel);
  return found.filter(({ row }) => row === null || isShown(row));
}

/** @param {Store} store @param {object} panel @returns {(latest: Latest) => boolean} whether it still sends data */
export function livenessOf(store, panel) {
  const newestMs = store.newest(panel.metric_type)?.receivedAtMs ?? 0;
  return ({ receivedAtMs }) => newestMs - receivedAtMs <= SILENT_MS;
}

/** Do the same as latestOf, without those that have fallen silent. @returns {Latest[]} */
export function presentOf(store, panel, source) {
  return latestOf(store, panel, source).filter(livenessOf(store, panel));
}

function filterOf(panel) {
  let filter = filters.get(panel);
  if (filter === undefined) filters.set(panel, (filter = matcherOf(readKeyTerms(panel.options.keys))));
  return filter;
}

/** @param {Latest} latest @returns {string | null} its row as a person writes it */
export function nameOf({ row, data }) {
  return row === null ? null : String(data.agent_name ?? labelOfRow(row));
}

/**
 * @typedef {object} Chosen what has a place in a panel; where not all have one, the worst, in this order
 * @property {Latest[]} shown
 * @property {Latest[]} left
 * @property {unknown[]} countedWords the states of those that the page only counts
 */

/**
 * Choose the sources and rows that a panel shows.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {Sources} source only of these
 * @param {number} most
 * @returns {Chosen}
 */
export function choose(store, panel, source, most) {
  const hasField = ({ data }) => panel.fields.some(({ path }) => lookUp(data, path) !== undefined);
  const all = presentOf(store, panel, source);
  // A list of states has a row for whatever has a state.
  const present = panel.kind === "status" ? all : all.filter(hasField);
  const newestMs = store.newest(panel.metric_type)?.receivedAtMs ?? 0;
  const countedWords = store.countedWords(panel.metric_type, source, newestMs - SILENT_MS);
  if (present.length + countedWords.length <= most) return { shown: present, left: [], countedWords };
  const hasThresholds = panel.warning_at !== null || panel.critical_at !== null;
  const severityIn = (latest) =>
    hasThresholds
      ? Math.min(...panel.fields.map(({ path }) => severityOf(levelOf(lookUp(latest.data, path), panel))))
      : USUAL;
  const ranked = present.map((latest) => ({ latest, rank: Math.min(latest.severity, severityIn(latest)) }));
  ranked.sort((a, b) => a.rank - b.rank);
  const chosen = ranked.map(({ latest }) => latest);
  return { shown: chosen.slice(0, most), left: chosen.slice(most), countedWords };
}

/**
 * Return the words for what has no place in a panel, such as "+240 more: 234 healthy, 6 degraded".
 *
 * @param {Chosen} chosen
 * @returns {string} empty if everything has one
 */
export function describeLeft({ left, countedWords }) {
  const words = [...left.map(({ row, data }) => (row === null ? null : (data.status ?? null))), ...countedWords];
  if (words.length === 0) return "";
  const more = `+${words.length.toLocaleString("en")} more`;
  const states = new Set(words.map((word) => (word === null || word === undefined ? null : String(word).toLowerCase())));
  if (states.size > 1) return `${more}: ${countStates(words.filter((word) => word !== null && word !== undefined))}`;
  return states.has(null) ? more : `${more}, all ${[...states][0]}`;
}

/** @param {unknown[]} words @returns {string} how often each occurs, "294 healthy, 6 unhealthy" */
export function countStates(words, separator = ", ") {
  const counts = new Map();
  for (const word of words) {
    const name = String(word).toLowerCase();
    if (name === "") continue;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts]
    .sort(([a], [b]) => severityOf(levelOfWord(b)) - severityOf(levelOfWord(a)) || compareNames(a, b))
    .map(([name, count]) => `${count.toLocaleString("en")} ${name}`)
    .join(separator);
}

/**
 * Return the panel's readings, field by field.
 *
 * @param {Store} store
 * @param {object} panel as in the page configuration
 * @param {Sources} source only of these
 * @param {Latest[]} [present] of these sources and rows
 * @returns {Reading[]}
 */
export function readingsOf(store, panel, source, present = presentOf(store, panel, source)) {
  const readings = [];
  for (const field of panel.fields) {
    for (const latest of present) {
      const value = lookUp(latest.data, field.path);
      if (value === undefined) continue;
      const unit = panel.unit || statedUnit(latest.units, field.path) || field.unit;
      readings.push({
        key: [latest.source, latest.row ?? "", field.path].join("\u0000"),
        field,
        value,
        unit,
        unitAt: (path) => panel.unit || statedUnit(latest.units, `${field.path}.${path}`) || field.units?.[path] || "",
        outside: outsideWords(value, field, unit),
        source: latest.source,
        row: latest.row,
        rowLabel: nameOf(latest),
        series: store.find({ ...latest, metricType: panel.metric_type, path: field.path }),
      });
    }
  }
  return label(readings);
}

/**
 * Return the panel's series, including silent sources that are still on the chart.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {Sources} source only of these
 * @returns {{field: Field, series: Series}[]}
 */
export function seriesOf(store, panel, source) {
  const isShown = panel.options?.keys?.length ? filterOf(panel) : () => true;
  return panel.fields.flatMap((field) =>
    store
      .series(panel.metric_type, field.path, source)
      .filter(({ length, row }) => length > 0 && (row === null || isShown(row)))
      .map((series) => ({ field, series })),
  );
}

/**
 * Return the sketches of the field of a panel.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {Sources} source only of these
 * @returns {SketchSeries[]}
 */
export function sketchesOf(store, panel, source) {
  const [{ path, flat_path: flatPath = path }] = panel.fields;
  // The same sketch cannot be at both places: one of them is a name with dots.
  return [...new Set([flatPath, path])].flatMap((each) => store.sketches(panel.metric_type, each, source));
}

/** @param {{field: Field, series: Series}} line @returns {string} unique within the panel, and stable */
export function keyOfLine({ field, series }) {
  return [series.source, series.row ?? "", field.path].join("\u0000");
}

/**
 * Return series of a panel with labels.
 *
 * Where a label says `(worst)`, a point that represents several percentiles is the highest of them.
 *
 * @param {{field: Field, series: Series}[]} found
 * @param {object} panel
 * @returns {Reading[]}
 */
export function linesOf(found, panel) {
  const lines = found.map(({ field, series }) => ({
    key: keyOfLine({ field, series }),
    field,
    value: series.lastValue,
    unit: panel.unit || series.unit || field.unit,
    source: series.source,
    row: series.row,
    rowLabel: series.label,
    series,
  }));
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
 * @param {Sources} source only of these
 * @returns {number | null}
 */
export function lastReceivedMs(store, panel, source) {
  const heard = panel.fields
    .flatMap(({ path, flat_path: flatPath = path }) => [path, flatPath])
    .map((path) => store.heardMs(panel.metric_type, path, source))
    .filter((atMs) => atMs !== null);
  if (heard.length > 0) return Math.max(...heard);
  const found = store.latest(panel.metric_type, source);
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
  // A single row is named, too: the reading is about it.
  const rows = readings.some((each) => each.row !== null);
  const sources = several((each) => each.source);
  // "Response time p50, p95, p99": the shared words are in the panel's title, and legends have little room.
  const paths = [...new Map(readings.map(({ field }) => [field.path, field.label]))];
  const short = withoutSharedStart(paths.map(([, text]) => text));
  const fieldLabels = new Map(paths.map(([path], index) => [path, fields ? short[index] : paths[index][1]]));
  for (const reading of readings) {
    const parts = [];
    if (rows && reading.row !== null) parts.push(reading.rowLabel);
    if (fields || (!rows && !sources)) parts.push(fieldLabels.get(reading.field.path));
    if (sources) parts.push(reading.source);
    reading.label = parts.join(" · ");
  }
  return readings;
}
