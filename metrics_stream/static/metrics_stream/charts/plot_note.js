// The note beside the cursor of a plot: what is under it.

import { element, KeyedList, setAttribute, setStyle, setText } from "./dom.js";

/** Between the cursor and its note. */
const DISTANCE_PX = 12;

export class PlotNote {
  /** @param {HTMLElement} host the note stays inside it */
  constructor(host) {
    this.host = host;
    this.node = element("div", { class: "plot-note numeric", hidden: true });
    host.append(this.node);
    this.lines = new KeyedList(
      this.node,
      () => ({ node: element("p") }),
      (part, { text }) => setText(part.node, text),
    );
  }

  /**
   * @param {string[] | null} texts one for each line; null hides the note
   * @param {{left: number, top: number}} [place] of the cursor, in pixels from the corner of the host
   */
  show(texts, { left, top } = { left: 0, top: 0 }) {
    setAttribute(this.node, "hidden", texts === null);
    if (texts === null) return;
    this.lines.show(texts.map((text, index) => ({ key: `${index}`, text })));
    const { offsetWidth: width, offsetHeight: height } = this.node;
    const { clientWidth, clientHeight } = this.host;
    const x = left + DISTANCE_PX + width > clientWidth ? left - DISTANCE_PX - width : left + DISTANCE_PX;
    const y = Math.min(Math.max(0, top - height - DISTANCE_PX), Math.max(0, clientHeight - height));
    setStyle(this.node, "transform", `translate(${Math.round(Math.max(0, x))}px, ${Math.round(y)}px)`);
  }
}
