// The element that holds a plot of uPlot and fits its size, with a note at the cursor.

import uPlot from "../vendor/uPlot.min.js";
import { element } from "./dom.js";
import { PlotNote } from "./plot_note.js";
import { fitPlot } from "./plot_style.js";

export class PlotHost {
  #observer;

  /** @param {string} className of the element */
  constructor(className) {
    this.node = element("div", { class: `plot ${className}`, role: "img" });
    this.note = new PlotNote(this.node);
    /** @type {uPlot | null} */
    this.plot = null;
    this.#observer = new ResizeObserver(() => fitPlot(this.plot, this.node));
    this.#observer.observe(this.node);
  }

  /** Make the plot, still without data. @param {object} options of uPlot @returns {uPlot} */
  create(options) {
    this.plot = new uPlot(options, [[], []], this.node);
    // Above the plot.
    this.node.append(this.note.node);
    return this.plot;
  }

  /**
   * Show a note at the cursor.
   *
   * @param {string[] | null} texts one for each line; null hides the note
   */
  showNote(texts) {
    const { cursor, over } = this.plot;
    this.note.show(texts, { left: over.offsetLeft + cursor.left, top: over.offsetTop + cursor.top });
  }

  /** Remove the plot: another one can be created. */
  clear() {
    this.plot?.destroy();
    this.plot = null;
  }

  stop() {
    this.#observer.disconnect();
    this.clear();
  }
}
