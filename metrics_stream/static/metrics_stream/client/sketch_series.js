// The sketches of one name of one source or row over time, merged in cells of time and bounded by the window.

import { Sketch } from "./sketch.js";

/** The window has this many cells at most. */
const MAX_CELLS = 300;

const SHORTEST_CELL_MS = 1000;

export class SketchSeries {
  /** @type {{timeMs: number, sketch: Sketch}[]} oldest first */
  #cells = [];
  #windowMs = 0;
  #cellMs = SHORTEST_CELL_MS;

  /**
   * @param {Identity} identity
   * @param {number} windowMs how far back the page shows
   */
  constructor(identity, windowMs) {
    Object.assign(this, identity);
    this.windowMs = windowMs;
    this.receivedAtMs = -Infinity;
    /** @type {string} what the producer states; empty if nothing */
    this.unit = "";
  }

  get windowMs() {
    return this.#windowMs;
  }

  set windowMs(milliseconds) {
    this.#windowMs = milliseconds;
    this.#cellMs = Math.max(SHORTEST_CELL_MS, Math.ceil(milliseconds / MAX_CELLS));
    const cells = this.#cells;
    this.#cells = [];
    for (const { timeMs, sketch } of cells) this.add(timeMs, sketch);
  }

  /** @returns {number} how many cells it keeps */
  get length() {
    return this.#cells.length;
  }

  /** @returns {readonly {timeMs: number, sketch: Sketch}[]} its cells, oldest first; not to be changed */
  get cells() {
    return this.#cells;
  }

  /** @returns {number} the width of a cell in milliseconds */
  get cellMs() {
    return this.#cellMs;
  }

  /** @returns {number} the time of the oldest sketch in milliseconds; Infinity without one */
  get firstTimeMs() {
    return this.#cells[0]?.timeMs ?? Infinity;
  }

  /** @param {number} timeMs @param {Sketch} sketch is not changed */
  add(timeMs, sketch) {
    const cells = this.#cells;
    if (timeMs < (cells.at(-1)?.timeMs ?? -Infinity) - this.#windowMs) return;
    const cell = this.#cellOf(timeMs);
    let index = cells.length;
    while (index > 0 && this.#cellOf(cells[index - 1].timeMs) > cell) index -= 1;
    if (index === 0 || this.#cellOf(cells[index - 1].timeMs) !== cell) {
      cells.splice(index, 0, { timeMs, sketch: new Sketch() });
      index += 1;
    }
    cells[index - 1].sketch.merge(sketch);
    this.trim(cells.at(-1).timeMs);
  }

  /** Forget what is older than the window. @param {number} nowMs */
  trim(nowMs) {
    const kept = this.#cells.findIndex(({ timeMs }) => timeMs >= nowMs - this.#windowMs - this.#cellMs);
    if (kept !== 0) this.#cells.splice(0, kept < 0 ? this.#cells.length : kept);
  }

  /**
   * Merge the sketches between two times into another one.
   *
   * @param {Sketch} sketch
   * @param {number} fromMs
   * @param {number} toMs
   */
  mergeInto(sketch, fromMs, toMs) {
    for (const cell of this.#cells) if (cell.timeMs >= fromMs && cell.timeMs <= toMs) sketch.merge(cell.sketch);
  }

  #cellOf(timeMs) {
    return Math.floor(timeMs / this.#cellMs);
  }
}
