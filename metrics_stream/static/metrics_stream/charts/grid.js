// The content of a table of sources, as rows and columns of text.

import { formatValue, nameBesideUnit } from "../client/format.js";
import { levelOf, levelOfWord } from "../client/levels.js";

/**
 * @typedef {object} Cell
 * @property {string} text
 * @property {boolean} numeric
 * @property {"none" | "good" | "warn" | "bad"} level
 * @property {number} [span] how many columns it fills
 * @property {string} [outside] words for a number outside the bounds of its field
 * @property {string} [note] what else a person must know of it
 *
 * @typedef {object} Grid
 * @property {string[]} columns headings, without that of the row heads; empty where headings are useless
 * @property {string} corner the heading of the row heads
 * @property {{key: string, head: string, cells: Cell[]}[]} rows
 */

/**
 * Lay out the readings of a panel: fields are rows and sources columns; a field that holds an object or a list becomes
 * several rows.
 *
 * @param {Reading[]} readings
 * @param {object} panel
 * @returns {Grid}
 */
export function gridOf(readings, panel) {
  if (readings.length === 0) return { columns: [], corner: "", rows: [] };
  const [first] = readings;
  if (panel.fields.length === 1 && isObject(first.value)) {
    const matrix = matrixGrid(first, panel);
    if (matrix) return matrix;
  }
  if (panel.fields.length === 1 && Array.isArray(first.value)) return listGrid(first, panel);
  const sources = [...new Set(readings.map((reading) => reading.source))];
  const rows = new Map();
  const judged = panel.fields.length === 1;
  const put = (key, head, source, content) => {
    if (!rows.has(key)) rows.set(key, { key, head, found: new Map() });
    rows.get(key).found.set(source, content);
  };
  for (const reading of readings) {
    const { field, source, value, unitAt } = reading;
    if (isObject(value)) {
      for (const [name, inner] of Object.entries(value)) {
        const below = (path) => unitAt(`${name}.${path}`);
        const head = nameBesideUnit(name, unitAt(name));
        put(`${field.path}\u0000${name}`, head, source, cell(inner, unitAt(name), panel, judged, below));
      }
    } else {
      put(field.path, field.label, source, readingCell(reading, panel, judged));
    }
  }
  return {
    columns: sources.length > 1 ? sources : [],
    corner: sources.length > 1 ? "Field" : "",
    rows: [...rows.values()].map(({ key, head, found }) => ({
      key,
      head,
      cells: sources.map((source) => found.get(source) ?? cell(undefined, "", panel, false)),
    })),
  };
}

/** Return a table for an object of objects that share keys, `{ours: {cost: 1}, theirs: {cost: 2}}`; else null. */
function matrixGrid({ value, unitAt }, panel) {
  const columns = Object.entries(value).filter(([, inner]) => isObject(inner));
  const names = [...new Set(columns.flatMap(([, inner]) => Object.keys(inner)))];
  const shared = names.filter((name) => columns.every(([, inner]) => Object.hasOwn(inner, name)));
  if (columns.length < 2 || shared.length === 0) return null;
  const rows = names.map((name) => ({
    key: name,
    head: nameBesideUnit(name, unitAt(`${columns[0][0]}.${name}`)),
    cells: columns.map(([column, inner]) => cell(inner[name], unitAt(`${column}.${name}`), panel, false)),
  }));
  for (const [name, inner] of Object.entries(value)) {
    if (isObject(inner)) continue;
    const wide = { ...cell(inner, unitAt(name), panel, false), span: columns.length };
    rows.push({ key: `\u0000${name}`, head: nameBesideUnit(name, unitAt(name)), cells: [wide] });
  }
  return { columns: columns.map(([name]) => nameBesideUnit(name, unitAt(name))), corner: "", rows };
}

function listGrid({ value: items, unit, unitAt }, panel) {
  if (items.length && items.every(isObject)) {
    const [head, ...keys] = [...new Set(items.flatMap((item) => Object.keys(item)))];
    return {
      columns: keys.map((key) => nameBesideUnit(key, unitAt(key))),
      corner: nameBesideUnit(head, unitAt(head)),
      rows: items.map((item, index) => ({
        key: String(index),
        head: formatValue(item[head], unitAt(head), panel.decimals),
        cells: keys.map((key) => cell(item[key], unitAt(key), panel, false)),
      })),
    };
  }
  return {
    columns: [],
    corner: "",
    rows: items.map((item, index) => ({
      key: String(index),
      head: formatValue(item, unit, panel.decimals),
      cells: [],
    })),
  };
}

export function readingCell(reading, panel, judged) {
  const { value, unit = "", unitAt, outside = "" } = reading ?? {};
  return { ...cell(value, unit, panel, judged, unitAt), outside };
}

function cell(value, unit, panel, judged, unitAt) {
  const numeric = typeof value === "number";
  const level = numeric && judged ? levelOf(value, panel) : levelOfWord(value);
  return { text: formatValue(value, unit, panel.decimals, unitAt), numeric, level, outside: "" };
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
