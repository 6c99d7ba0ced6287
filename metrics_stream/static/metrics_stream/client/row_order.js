// The order of the rows of a table: by the column that a person chose.

import { compareNames } from "./names.js";

/**
 * @typedef {object} Column of a table of rows
 * @property {string} id
 * @property {string} label
 * @property {Field | null} field null for a part of the key
 * @property {string | null} part the name of this part; null for a field, and for the name of the row
 *
 * @typedef {{id: string, isDescending: boolean}} Order `id`: of the column
 */

/**
 * Sort rows by a column.
 *
 * Rows without a value come last, and after them the one into which others are folded.
 *
 * @template T
 * @param {T[]} rows
 * @param {(row: T) => unknown} valueIn the column
 * @param {{isDescending: boolean, isOther: (row: T) => boolean}} how
 * @returns {T[]} a new list; equal ones keep their order
 */
export function sortRows(rows, valueIn, { isDescending, isOther }) {
  const items = rows.map((row) => {
    const value = valueIn(row);
    return { row, value, rank: isOther(row) ? 2 : isMissing(value) ? 1 : 0 };
  });
  const sign = isDescending ? -1 : 1;
  items.sort((a, b) => a.rank - b.rank || sign * compare(a.value, b.value));
  return items.map(({ row }) => row);
}

/**
 * Return the order after a click on the heading of a column.
 *
 * @param {Order | null} order
 * @param {Column} column
 * @returns {Order} the largest number or the first name comes first; a second click turns it round
 */
export function nextOrder(order, column) {
  if (order?.id === column.id) return { id: column.id, isDescending: !order.isDescending };
  return { id: column.id, isDescending: column.field !== null && column.field.kind !== "text" };
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
  return isMissing(a) || isMissing(b) ? 0 : compareNames(String(a), String(b));
}

function isMissing(value) {
  return value === undefined || value === null || value === "" || Number.isNaN(value);
}
