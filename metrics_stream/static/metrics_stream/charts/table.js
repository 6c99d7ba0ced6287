// A table of the newest values: of the rows of a metric type with a key, or of its sources.

import { latestOf } from "../client/readings.js";
import { GridTable } from "./grid_table.js";
import { RowTable } from "./row_table.js";

/** A table of rows has more to show than a person can read at once. */
const ROWS_INTERVAL_MS = 500;

export class TableChart {
  /** @type {GridTable | RowTable | null} */
  #table = null;

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.host = host;
  }

  /** @returns {number} how often it has to be painted at most, in milliseconds */
  get intervalMs() {
    return this.#table instanceof RowTable ? ROWS_INTERVAL_MS : 0;
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint(frame) {
    const found = latestOf(frame.store, this.panel, frame.source);
    if (found.length === 0) return this.#table?.paint(frame) ?? false;
    const Table = found.some(({ row }) => row !== null) ? RowTable : GridTable;
    if (!(this.#table instanceof Table)) {
      this.stop();
      this.#table = new Table(this.panel, this.host);
    }
    return this.#table.paint(frame);
  }

  stop() {
    this.#table?.remove();
    this.#table = null;
  }
}
