// What has been seen lately: a line for each field of each row, with its newest value, its age and how often it comes.

import { compareNames } from "../../client/names.js";
import { lookUp } from "../../client/path.js";
import { Rate } from "./rate.js";

/** More rows than any test has names and sources; beyond them they are only counted. */
const MAX_ROWS = 20_000;

/** Objects nested deeper are one value. */
const MAX_DEPTH = 4;

/** How often nested objects are searched for new fields. */
const SEARCH_MS = 5_000;

/** Sketches are no values for people. */
const SKETCHES = "sketches";

const AGENT_KEY = ["agent_id"];

/**
 * @typedef {object} Row one object that is published again and again
 * @property {string} id
 * @property {string} metricType
 * @property {string} source
 * @property {Record<string, string> | null} key what tells it from other rows; null if the type has none
 * @property {string} label the key for people
 * @property {object} data the newest
 * @property {Record<string, string> | null} units as stated by the producer
 * @property {number} timestampMs
 * @property {number} receivedAtMs
 * @property {Rate} rate
 *
 * @typedef {{row: Row, path: string, id: string}} Line
 */

export class Seen {
  /** @type {Map<string, Row & {known: Set<string>, searchedAtMs: number, lines: Map<string, Line>}>} */
  #rows = new Map();
  #leftOut = new Set();

  constructor() {
    /** Grows when a line comes or goes. */
    this.version = 0;
  }

  /** @returns {Line[]} in no particular order */
  get lines() {
    return [...this.#rows.values()].flatMap(({ lines }) => [...lines.values()]);
  }

  /** @returns {number} how many rows are not listed, because there are too many */
  get leftOutCount() {
    return this.#leftOut.size;
  }

  /** @returns {number} */
  get rowCount() {
    return this.#rows.size;
  }

  /** @param {string} id @returns {Line | null} */
  find(id) {
    const row = this.#rows.get(id.slice(0, id.lastIndexOf("\u0000")));
    return row?.lines.get(id.slice(id.lastIndexOf("\u0000") + 1)) ?? null;
  }

  /**
   * Add a metric as received.
   *
   * @param {object} metric
   * @param {number} nowMs
   * @param {boolean} isLive false for one of the past, which says nothing about how often it comes
   */
  add(metric, nowMs, isLive) {
    const data = metric?.data;
    if (data === null || typeof data !== "object" || typeof metric.metric_type !== "string") return;
    const parsedMs = Date.parse(metric.timestamp);
    const when = { timestampMs: Number.isNaN(parsedMs) ? nowMs : parsedMs, receivedAtMs: nowMs, isLive };
    if (Array.isArray(data)) {
      this.#addRows(metric, Array.isArray(metric.key) ? metric.key : AGENT_KEY, data, when);
      return;
    }
    const { agents, ...own } = data;
    if (agents === null || typeof agents !== "object") {
      this.#addRow(metric, null, data, when);
      return;
    }
    if (Object.keys(own).length) this.#addRow(metric, null, own, when);
    const entries = Array.isArray(agents)
      ? agents
      : Object.entries(agents).map(([id, entry]) => ({ agent_id: id, ...entry }));
    this.#addRows(metric, AGENT_KEY, entries, when);
  }

  /** Forget rows of which nothing came since then. @param {number} oldestMs */
  trim(oldestMs) {
    for (const [id, row] of this.#rows) {
      if (row.receivedAtMs >= oldestMs) continue;
      this.#rows.delete(id);
      this.#leftOut.clear();
      this.version += 1;
    }
  }

  #addRows(metric, parts, entries, when) {
    for (const entry of entries) {
      if (entry === null || typeof entry !== "object") continue;
      const pairs = parts.filter((part) => entry[part] !== undefined && entry[part] !== null);
      this.#addRow(metric, Object.fromEntries(pairs.map((part) => [part, String(entry[part])])), entry, when);
    }
  }

  #addRow(metric, key, data, { timestampMs, receivedAtMs, isLive }) {
    const source = String(metric.source ?? "");
    const id = [metric.metric_type, source, ...Object.entries(key ?? {}).flat()].join("\u0001");
    let row = this.#rows.get(id);
    if (!row) {
      if (this.#rows.size >= MAX_ROWS) {
        this.#leftOut.add(id);
        return;
      }
      row = { id, metricType: metric.metric_type, source, key, label: labelOfKey(key), rate: new Rate(receivedAtMs) };
      Object.assign(row, { known: new Set(), searchedAtMs: -Infinity, lines: new Map(), timestampMs: -Infinity });
      this.#rows.set(id, row);
    }
    if (isLive) row.rate.add(receivedAtMs);
    row.receivedAtMs = receivedAtMs;
    if (timestampMs >= row.timestampMs) {
      row.timestampMs = timestampMs;
      row.data = data;
      row.units = metric.units ?? null;
    }
    this.#findFields(row, data, receivedAtMs);
  }

  #findFields(row, data, nowMs) {
    const isNew = Object.keys(data).some((name) => !row.known.has(name));
    if (!isNew && nowMs - row.searchedAtMs < SEARCH_MS) return;
    row.searchedAtMs = nowMs;
    for (const name of Object.keys(data)) row.known.add(name);
    for (const path of pathsIn(data)) {
      if (row.lines.has(path) || (row.key !== null && path in row.key)) continue;
      row.lines.set(path, { row, path, id: `${row.id}\u0000${path}` });
      this.version += 1;
    }
  }
}

/** @param {Line} line @returns {unknown} its newest value */
export function valueOf({ row, path }) {
  return lookUp(row.data, path);
}

/** Return the key of a row for people: "GET /users", or its values. */
export function labelOfKey(key) {
  if (key === null) return "";
  const { name, method, ...others } = key;
  const first = [method, name].filter((part) => part !== undefined && part !== "").join(" ");
  return [first, ...Object.values(others)].filter((part) => part !== "").join(" · ");
}

/** @param {object} data @returns {Generator<string>} the paths of all values in it */
function* pathsIn(data, before = "", depth = 1) {
  for (const [name, value] of Object.entries(data)) {
    if (name === SKETCHES) continue;
    const path = before + name;
    const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
    if (isObject && depth < MAX_DEPTH) yield* pathsIn(value, `${path}.`, depth + 1);
    else yield path;
  }
}

/** Compare lines by type, source, row and field. @param {Line} a @param {Line} b @returns {number} */
export function compareLines(a, b) {
  return (
    compareNames(a.row.metricType, b.row.metricType) ||
    compareNames(a.row.source, b.row.source) ||
    compareNames(a.row.label, b.row.label) ||
    compareNames(a.path, b.path)
  );
}
