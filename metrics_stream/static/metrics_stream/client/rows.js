// The rows of a panel: requests, errors, agents. What several sources say of the same request goes together in one row:
// counts and rates add up, sketches merge, a maximum is the largest one. Agents of several sources are different agents.

import { isOfOneSource, isOther, namesOf, partsOf } from "./keys.js";
import { lookUp } from "./path.js";
import { latestOf, livenessOf, nameOf } from "./readings.js";
import { decodeSketch, Sketch } from "./sketch.js";
import { statedFor, statedUnit } from "./units.js";

/** Merging more sketches would take too long for every second; the worst percentile stands for them. */
const MAX_SKETCHES = 2_000;

/** What weighs a mean, in this order: a share is one of the requests of its window, an average one of all requests. */
const WEIGHTS = { ratio: ["throughput_tps", "requests_total"], other: ["requests_total", "throughput_tps"] };

/**
 * @typedef {object} Row
 * @property {string} id unique within the panel, and stable
 * @property {string} row the text of its key
 * @property {string} head what a person calls it, "GET /users"
 * @property {Record<string, string>} rest the parts of its key that are not in `head`
 * @property {boolean} isOther whether a server has folded other rows into it
 * @property {boolean} isStale whether it sends no data any more, while others do
 * @property {number} receivedAtMs
 * @property {Latest[]} latest of each source
 *
 * @typedef {object} Merged the value of several rows or sources together
 * @property {unknown} value undefined if they have none
 * @property {string} unit
 * @property {boolean} isWorst whether it is the worst of several percentiles
 */

/**
 * Return the rows that a panel shows.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {Sources} source only of these
 * @returns {Row[]} silent ones as well; as they came
 */
export function rowsOf(store, panel, source) {
  const isLive = livenessOf(store, panel);
  const rows = new Map();
  for (const latest of latestOf(store, panel, source)) {
    const { row } = latest;
    if (row === null) continue;
    const id = addsSources(panel, latest.key) ? row : `${latest.source}\u0000${row}`;
    const known = rows.get(id);
    if (known === undefined) {
      rows.set(id, { id, row, receivedAtMs: latest.receivedAtMs, isStale: !isLive(latest), latest: [latest] });
    } else {
      known.latest.push(latest);
      known.receivedAtMs = Math.max(known.receivedAtMs, latest.receivedAtMs);
      known.isStale &&= !isLive(latest);
    }
  }
  return [...rows.values()];
}

/**
 * Name a row: once it is shown or searched, as there may be thousands.
 *
 * @param {Row} row
 * @returns {Row} the same
 */
export function nameRow(row) {
  if (row.head !== undefined) return row;
  const [first] = row.latest;
  const { head, rest } = namesOf(partsOf(row.row));
  return Object.assign(row, { head: first.data.agent_name === undefined ? head : nameOf(first), rest, isOther: isOther(row.row) });
}

/** @param {object} panel @param {string[]} key @returns {boolean} whether rows of several sources are one row */
export function addsSources(panel, key) {
  // Of a field that the catalogue does not know, nobody knows how its values go together.
  return !isOfOneSource(key) && panel.fields.every(({ kind, path }) => kind !== undefined || key.includes(path));
}

/**
 * Return the value of a field for one row.
 *
 * @param {Row} row
 * @param {Field} field
 * @param {object} panel
 * @returns {Merged}
 */
export function valueOf(row, field, panel) {
  return mergeValues(row.latest, field, panel);
}

/**
 * Return the value of a field for all rows together.
 *
 * @param {Row[]} rows
 * @param {Field} field
 * @param {object} panel
 * @returns {Merged} without a value for what does not add up
 */
export function totalOf(rows, field, panel) {
  // What has ended no longer has a rate or a latency, but its counts stay.
  const counted = field.kind === "counter" ? rows : rows.filter(({ isStale }) => !isStale);
  const latest = counted.flatMap((row) => row.latest);
  const merged = mergeValues(latest, field, panel);
  return merged.isWorst || field.kind === "text" ? { ...merged, value: undefined, isWorst: false } : merged;
}

/**
 * Return the value of a field for several sources or rows together.
 *
 * @param {Latest[]} list at least one
 * @param {Field} field
 * @param {object} panel
 * @returns {Merged}
 */
export function mergeValues(list, field, panel) {
  const { path } = field;
  const [first] = list;
  const unit = panel.unit || (first && statedUnit(first.units, path)) || field.unit;
  if (list.length === 1) return { value: lookUp(first.data, path), unit, isWorst: false };
  const values = list.map(({ data }) => lookUp(data, path));
  const numbers = values.filter((value) => typeof value === "number");
  if (numbers.length === 0) return { value: values.find((value) => value !== undefined), unit, isWorst: false };
  const known = (value) => ({ value, unit, isWorst: false });
  const rule = ruleOf(field);
  if (rule === "sum") return known(numbers.reduce((sum, value) => sum + value, 0));
  if (rule === "least") return known(numbers.reduce((least, value) => Math.min(least, value), Infinity));
  if (rule === "mean") return known(meanOf(list, values, field));
  const most = numbers.reduce((largest, value) => Math.max(largest, value), -Infinity);
  if (rule === "most") return known(most);
  const percentile = numbers.length === 1 ? most : percentileOf(list, path);
  return percentile === null ? { value: most, unit, isWorst: true } : known(percentile);
}

/**
 * Return how values of a field go together.
 *
 * @param {Field} field
 * @returns {"sum" | "least" | "most" | "percentile" | "mean"}
 */
export function ruleOf({ kind, unit }) {
  if (kind === "counter" || kind === "rate") return "sum";
  if (kind === "maximum") return "most";
  if (kind === "percentile") return "percentile";
  if (kind === "minimum") return "least";
  return unit === "count" ? "sum" : "mean";
}

function meanOf(list, values, { unit }) {
  const names = unit === "ratio" || unit === "percent" ? WEIGHTS.ratio : WEIGHTS.other;
  const weights = names
    .map((name) => list.map(({ data }) => lookUp(data, name)))
    .find((each) => each.every((weight, index) => typeof values[index] !== "number" || typeof weight === "number"));
  let [sum, total] = [0, 0];
  values.forEach((value, index) => {
    if (typeof value !== "number") return;
    const weight = weights === undefined ? 1 : weights[index];
    sum += value * weight;
    total += weight;
  });
  // Nobody had a request: all weights are zero.
  return total > 0 ? sum / total : values.find((value) => typeof value === "number");
}

/** Return a percentile of the sketches of all; null where one has none, or a percentile is of another time than its sketch. */
function percentileOf(list, path) {
  const match = /^(?:(.*)\.)?p(\d+)_(.+)$/.exec(path);
  if (match === null || list.length > MAX_SKETCHES) return null;
  const [, outer, digits, name] = match;
  const place = outer === undefined ? `sketches.${name}` : `${outer}.sketches.${name}`;
  const all = new Sketch();
  for (const { data, windows } of list) {
    if (statedFor(windows, path) !== undefined) return null;
    const sketch = decodeSketch(lookUp(data, place));
    if (sketch === null) return null;
    all.merge(sketch);
  }
  // p999 is 99.9 %, p5 is 5 %.
  const [quantile] = all.quantiles([Number(`0.${digits.padStart(2, "0")}`)]);
  return quantile ?? null;
}
