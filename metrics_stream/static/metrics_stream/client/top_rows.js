// The lines of the rows with the highest values of a column, where a panel draws the top few of many.

import { joinSeries } from "./joined_series.js";
import { rowsOf, nameRow, ruleOf, valueOf } from "./rows.js";

/** How often rows are chosen: a choice that changes all the time cannot be read. */
const CHOICE_MS = 10_000;

export class TopRows {
  /** @type {{store: Store, source: string | null, atMs: number, ids: string[]}} the last choice */
  #choice = { store: null, source: null, atMs: -Infinity, ids: [] };

  /** @param {object} panel with the option `top`; `by` is the field that counts, if it is not the first one */
  constructor(panel) {
    this.panel = panel;
    /** The field by which rows are chosen. */
    this.by = panel.by ?? panel.fields[0];
  }

  /**
   * Return the lines to draw, those of the highest row first.
   *
   * @param {Store} store
   * @param {Sources} source only of these
   * @returns {{lines: {field: Field, series: Series}[], rowCount: number, total: number}} of how many rows they are
   */
  choose(store, source) {
    const rows = rowsOf(store, this.panel, source);
    const byId = new Map(rows.map((row) => [row.id, row]));
    const nowMs = performance.now();
    const { store: before, source: sourceBefore, atMs, ids } = this.#choice;
    const isCurrent = before === store && sourceBefore === source && ids.every((id) => byId.has(id));
    const isFull = ids.length === Math.min(this.panel.options.top, rows.length);
    if (!isCurrent || !isFull || nowMs - atMs >= CHOICE_MS)
      this.#choice = { store, source, atMs: nowMs, ids: this.#rank(rows) };
    const chosen = this.#choice.ids.map((id) => byId.get(id));
    this.#keepSeries(store, chosen);
    const lines = this.panel.fields.flatMap((field) => chosen.flatMap((row) => this.#lineOf(store, row, field)));
    return { lines, rowCount: chosen.length, total: rows.length };
  }

  #rank(rows) {
    return rows
      .map((row) => ({ row: nameRow(row), value: valueOf(row, this.by, this.panel).value }))
      .filter(({ row, value }) => typeof value === "number" && !row.isOther)
      .sort((a, b) => Number(a.row.isStale) - Number(b.row.isStale) || b.value - a.value)
      .slice(0, this.panel.options.top)
      .map(({ row }) => row.id);
  }

  #keepSeries(store, chosen) {
    const texts = new Set(chosen.map(({ row }) => row));
    for (const { path } of this.panel.fields) store.prefer(this.panel.metric_type, path, texts);
  }

  #lineOf(store, { latest, row }, field) {
    const { metric_type: metricType } = this.panel;
    const found = latest
      .map(({ source }) => store.find({ metricType, source, row, path: field.path }))
      .filter((series) => series !== null && series.length > 0);
    return found.length === 0 ? [] : [{ field, series: joinSeries(found, ruleOf(field)) }];
  }
}
