// The list of lines: of thousands, only those in sight are in the document.

import { element, setAttribute, setStyle, setText } from "../../charts/dom.js";
import { formatDuration, formatValue, NO_VALUE } from "../../client/format.js";
import { statedUnit } from "../../client/units.js";
import { valueOf } from "./seen.js";

/** Lines beyond the edges, so that a quick scroll shows no hole. */
const RESERVE = 6;

export class List {
  /** @type {Line[]} */
  #lines = [];
  /** @type {Map<string, {node: HTMLElement, place: number}>} by the id of the line */
  #shown = new Map();
  #frame = 0;

  /**
   * @param {HTMLElement} viewport what scrolls
   * @param {object} options
   * @param {Catalogue} options.catalogue
   * @param {() => number} options.now milliseconds by the clock of the server
   * @param {(line: Line) => void} options.choose called with the line that a person chooses
   * @param {number} options.staleMs from this age on a line is marked
   */
  constructor(viewport, { catalogue, now, choose, staleMs }) {
    this.viewport = viewport;
    this.catalogue = catalogue;
    this.now = now;
    this.staleMs = staleMs;
    /** @type {string | null} the id of the charted line */
    this.chosenId = null;
    this.space = viewport.querySelector("[data-space]");
    viewport.addEventListener("scroll", () => this.#plan(), { passive: true });
    viewport.addEventListener("click", (event) => {
      const id = event.target.closest("[data-line]")?.dataset.line;
      const line = id === undefined ? undefined : this.#lines.find((each) => each.id === id);
      if (line !== undefined && getSelection()?.isCollapsed !== false) choose(line);
    });
    this.observer = new ResizeObserver(() => this.#plan());
    this.observer.observe(viewport);
  }

  /** @param {Line[]} lines in the order to show them in */
  show(lines) {
    this.#lines = lines;
    setAttribute(this.viewport, "aria-rowcount", lines.length + 1);
    this.draw();
  }

  /** Draw the lines in sight. */
  draw() {
    const height = this.#rowHeight();
    setStyle(this.space, "height", `${this.#lines.length * height}px`);
    const top = this.viewport.scrollTop - this.space.offsetTop;
    const first = Math.max(0, Math.floor(top / height) - RESERVE);
    const last = Math.min(this.#lines.length, Math.ceil((top + this.viewport.clientHeight) / height) + RESERVE);
    const visible = new Map(this.#lines.slice(first, last).map((line, index) => [line.id, first + index]));
    const spare = [];
    for (const [id, part] of this.#shown) {
      // A line with the focus stays, or a person at the keyboard would lose her place.
      if (visible.has(id) || part.node.contains(document.activeElement)) continue;
      this.#shown.delete(id);
      spare.push(part);
    }
    const nowMs = this.now();
    for (const [id, place] of visible) {
      let part = this.#shown.get(id);
      if (!part) {
        part = spare.pop() ?? this.#create();
        this.#shown.set(id, part);
      }
      this.#fill(part, this.#lines[place], place, { height, nowMs });
    }
    for (const { node } of spare) node.remove();
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.observer.disconnect();
  }

  #plan() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.draw());
  }

  #rowHeight() {
    const probe = this.viewport.querySelector("[data-probe]");
    return Math.max(16, probe.offsetHeight);
  }

  #create() {
    const cell = (name, ...children) => element("span", { class: `lines__${name}`, role: "cell" }, ...children);
    const button = element("button", { class: "lines__button", type: "button" });
    const path = element("span", { class: "lines__path" });
    const cells = {
      field: cell("field", button, path),
      row: cell("row"),
      source: cell("source"),
      type: cell("type"),
      value: cell("value numeric"),
      age: cell("age numeric"),
      rate: cell("rate numeric"),
    };
    const node = element("div", { class: "lines__line", role: "row" }, ...Object.values(cells));
    this.space.append(node);
    return { node, cells, button, path };
  }

  #fill(part, line, place, { height, nowMs }) {
    const { node, cells, button, path } = part;
    const { row } = line;
    const field = this.catalogue.field(row.metricType, line.path);
    const unit = statedUnit(row.units, line.path) || field?.unit || "";
    const ageMs = nowMs - row.receivedAtMs;
    setStyle(node, "transform", `translateY(${place * height}px)`);
    setAttribute(node, "data-line", line.id);
    setAttribute(node, "aria-rowindex", place + 2);
    setAttribute(node, "data-chosen", line.id === this.chosenId);
    setAttribute(node, "data-stale", ageMs > this.staleMs);
    setAttribute(button, "aria-pressed", line.id === this.chosenId ? "true" : "false");
    setText(button, field?.label ?? line.path);
    setAttribute(cells.field, "title", line.path.length > 24 ? line.path : null);
    setText(path, field === null || field.label === line.path ? "" : line.path);
    put(cells.row, row.label);
    put(cells.source, row.source);
    put(cells.type, this.catalogue.labelOf(row.metricType));
    const value = valueOf(line);
    put(cells.value, formatValue(value, unit));
    setText(cells.age, formatDuration(ageMs));
    setText(cells.rate, formatRate(row.rate.perSecond(nowMs)));
  }
}

/** Put in a text that may be cut; its tooltip has the whole. */
function put(node, text) {
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  setText(node, short);
  setAttribute(node, "title", text.length > 12 ? short : null);
}

/** @param {number | null} perSecond @returns {string} "1.0/s" or "4/min" */
export function formatRate(perSecond) {
  if (perSecond === null) return NO_VALUE;
  if (perSecond === 0) return "0";
  if (perSecond < 0.5) return `${Math.round(perSecond * 60)}/min`;
  return `${perSecond < 9.95 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en")}/s`;
}
