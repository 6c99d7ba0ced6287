// The body of a long table: only the rows that a person sees are elements of the page.

import { element, KeyedList, setAttribute, setStyle } from "./dom.js";

/** Up to this many rows all are elements, so that they can be searched with the browser and printed. */
const MOST_WHOLE = 60;

/** Rows above and below the visible ones, for a quick turn of the wheel. */
const SPARE_ROWS = 8;

export class RowWindow {
  #rowPx = 32;
  #items = [];
  #frame = null;
  #first = 0;
  #observer;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} table
   * @param {(part: object, item: object) => void} update writes a row
   * @param {() => {node: Element}} create
   */
  constructor(scroller, table, create, update) {
    this.scroller = scroller;
    this.table = table;
    this.above = element("tbody", { "aria-hidden": "true" }, element("tr"));
    this.body = element("tbody");
    this.below = element("tbody", { "aria-hidden": "true" }, element("tr"));
    table.append(this.above, this.body, this.below);
    this.rows = new KeyedList(this.body, create, (part, { item, place }) => {
      setAttribute(part.node, "aria-rowindex", this.isPartial ? place + 2 : null);
      update(part, item);
    });
    scroller.addEventListener("scroll", () => this.#schedule(), { passive: true });
    this.#observer = new ResizeObserver(() => this.#schedule());
    this.#observer.observe(scroller);
  }

  /** @returns {boolean} whether only a part of the rows are elements */
  get isPartial() {
    return this.#items.length > MOST_WHOLE;
  }

  /** @param {object[]} items one for each row */
  show(items) {
    this.#items = items;
    setAttribute(this.table, "aria-rowcount", this.isPartial ? items.length + 1 : null);
    this.#draw();
  }

  stop() {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  #schedule() {
    if (!this.isPartial) return;
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const items = this.#items;
    const [first, last] = this.isPartial ? this.#visible() : [0, items.length];
    this.#first = first;
    setHeight(this.above, first * this.#rowPx);
    setHeight(this.below, (items.length - last) * this.#rowPx);
    // A place keeps its element: a row that moves up changes texts, not the tree.
    this.rows.show(
      items.slice(first, last).map((item, index) => ({ key: `${index}`, item, place: first + index })),
    );
    const height = this.body.firstElementChild?.offsetHeight ?? 0;
    if (this.isPartial && height > 0 && Math.abs(height - this.#rowPx) >= 0.5) {
      this.#rowPx = height;
      this.#schedule();
    }
  }

  #visible() {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / this.#rowPx) - SPARE_ROWS);
    const count = Math.ceil(clientHeight / this.#rowPx) + 2 * SPARE_ROWS;
    return [Math.min(first, Math.max(0, this.#items.length - count)), Math.min(this.#items.length, first + count)];
  }
}

function setHeight(body, pixels) {
  setAttribute(body, "hidden", pixels <= 0);
  setStyle(body.firstElementChild, "height", `${Math.max(0, pixels)}px`);
}
