// The content of a table, as rows and columns of text.

import { formatValue, nameOf, unitOf } from "../client/format.js";
import { levelOf, levelOfWord } from "../client/readings.js";

/**
 * @typedef {object} Cell
 * @property {string} text
 * @property {boolean} numeric
 * @property {"none" | "good" | "warn" | "bad"} level
 * @property {number} [span] how many columns it fills
 *
 * @typedef {object} Grid
 * @property {string[]} columns headings, without that of the row heads; empty where headings are useless
 * @property {string} corner the heading of the row heads
 * @property {{key: string, head: string, cells: Cell[]}[]} rows
 */

/** Fields that name an entry; they become the head of its row. */
const NAMES = new Set(["agent_id", "agent_name"]);

/**
 * Lay out the readings of a panel.
 *
 * Entries (agents) are rows with the fields as columns. Otherwise fields are rows and sources columns; a field that
 * holds an object or a list becomes several rows.
 *
 * @param {Reading[]} readings
 * @param {object} panel
 * @returns {Grid}
 */
export function gridOf(readings, panel) {
  if (readings.length === 0) return { columns: [], corner: "", rows: [] };
  return readings.some((reading) => reading.agentId !== null) ? entryGrid(readings, panel) : fieldGrid(readings, panel);
}

function entryGrid(readings, panel) {
  const fields = panel.fields.filter((field) => !NAMES.has(field.path));
  const severalSources = new Set(readings.map((reading) => reading.source)).size > 1;
  const rows = new Map();
  for (const { source, agentId, agentName, field, value } of readings) {
    const key = `${source}\u0000${agentId}`;
    if (!rows.has(key)) {
      const head = severalSources ? `${agentName} · ${source}` : String(agentName);
      rows.set(key, { key, head, values: new Map() });
    }
    rows.get(key).values.set(field.path, value);
  }
  return {
    columns: fields.map((field) => field.label),
    corner: "Agent",
    rows: [...rows.values()].map(({ key, head, values }) => ({
      key,
      head,
      cells: fields.map((field) => cell(values.get(field.path), panel.unit || field.unit, panel, fields.length === 1)),
    })),
  };
}

function fieldGrid(readings, panel) {
  const first = readings[0].value;
  if (panel.fields.length === 1 && isObject(first)) {
    const matrix = matrixGrid(first, panel);
    if (matrix) return matrix;
  }
  if (panel.fields.length === 1 && Array.isArray(first)) return listGrid(first, panel);
  const sources = [...new Set(readings.map((reading) => reading.source))];
  const rows = new Map();
  const put = (key, head, source, value, unit) => {
    if (!rows.has(key)) rows.set(key, { key, head, unit, values: new Map() });
    rows.get(key).values.set(source, value);
  };
  for (const { field, source, value } of readings) {
    if (isObject(value)) {
      for (const [name, inner] of Object.entries(value)) {
        put(`${field.path}\u0000${name}`, nameOf(name), source, inner, panel.unit || unitOf(name));
      }
    } else {
      put(field.path, field.label, source, value, panel.unit || field.unit);
    }
  }
  return {
    columns: sources.length > 1 ? sources : [],
    corner: sources.length > 1 ? "Field" : "",
    rows: [...rows.values()].map(({ key, head, unit, values }) => ({
      key,
      head,
      cells: sources.map((source) => cell(values.get(source), unit, panel, panel.fields.length === 1)),
    })),
  };
}

/** Return a table for an object of objects that share keys, `{ours: {cost: 1}, theirs: {cost: 2}}`; else null. */
function matrixGrid(value, panel) {
  const columns = Object.entries(value).filter(([, inner]) => isObject(inner));
  const names = [...new Set(columns.flatMap(([, inner]) => Object.keys(inner)))];
  const shared = names.filter((name) => columns.every(([, inner]) => Object.hasOwn(inner, name)));
  if (columns.length < 2 || shared.length === 0) return null;
  const rows = names.map((name) => ({
    key: name,
    head: nameOf(name),
    cells: columns.map(([column, inner]) => cell(inner[name], panel.unit || unitIn(column, name), panel, false)),
  }));
  for (const [name, inner] of Object.entries(value)) {
    if (isObject(inner)) continue;
    const wide = { ...cell(inner, unitOf(name), panel, false), span: columns.length };
    rows.push({ key: `\u0000${name}`, head: nameOf(name), cells: [wide] });
  }
  return { columns: columns.map(([name]) => nameOf(name)), corner: "", rows };
}

/** A column of percentages, such as improvements, has percentages whatever the name of the row. */
function unitIn(column, name) {
  const own = unitOf(column);
  return own === "percent" ? own : unitOf(name);
}

function listGrid(items, panel) {
  if (items.length && items.every(isObject)) {
    const [head, ...keys] = [...new Set(items.flatMap((item) => Object.keys(item)))];
    return {
      columns: keys.map(nameOf),
      corner: nameOf(head),
      rows: items.map((item, index) => ({
        key: String(index),
        head: formatValue(item[head], unitOf(head), panel.decimals),
        cells: keys.map((key) => cell(item[key], panel.unit || unitOf(key), panel, false)),
      })),
    };
  }
  return {
    columns: [],
    corner: "",
    rows: items.map((item, index) => ({
      key: String(index),
      head: formatValue(item, panel.unit, panel.decimals),
      cells: [],
    })),
  };
}

function cell(value, unit, panel, judged) {
  const numeric = typeof value === "number";
  const level = numeric && judged ? levelOf(value, panel) : levelOfWord(value);
  return { text: formatValue(value, unit, panel.decimals), numeric, level };
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
