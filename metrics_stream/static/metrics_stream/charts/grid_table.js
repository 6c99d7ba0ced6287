// A table of the newest values of sources: fields are rows.

import { choose, describeLeft, readingsOf } from "../client/readings.js";
import { element, KeyedList, setAttribute, setText } from "./dom.js";
import { gridOf } from "./grid.js";
import { createCell, updateCell } from "./table_cell.js";

export class GridTable {
  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.maxRows = panel.options.max_rows ?? 20;
    this.headRow = element("tr");
    this.head = element("thead", {}, this.headRow);
    this.body = element("tbody");
    this.more = element("p", { class: "panel__more", hidden: true });
    const table = element(
      "table",
      { class: "table" },
      element("caption", { class: "visually-hidden" }, panel.title),
      this.head,
      this.body,
    );
    // A wide table scrolls inside its panel, also with the keyboard.
    this.scroller = element(
      "div",
      { class: "table__scroller", tabindex: "0", role: "region", "aria-label": panel.title },
      table,
    );
    host.append(this.scroller, this.more);
    this.headings = new KeyedList(this.headRow, createHeading, updateHeading);
    this.rows = new KeyedList(this.body, createRow, updateRow);
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint({ store, source }) {
    const chosen = choose(store, this.panel, source, this.maxRows);
    const grid = gridOf(readingsOf(store, this.panel, source, chosen.shown), this.panel);
    const shown = grid.rows.slice(0, this.maxRows);
    setAttribute(this.head, "hidden", grid.columns.length === 0);
    setAttribute(
      this.scroller,
      "data-list",
      shown.every((row) => row.cells.length === 0),
    );
    const headings = [grid.corner, ...grid.columns].map((text, index) => ({
      key: `${index}`,
      text,
      numeric: index > 0 && shown.some((row) => row.cells[index - 1]?.numeric),
    }));
    this.headings.show(headings);
    this.rows.show(shown);
    const cut = grid.rows.length - shown.length;
    const left = describeLeft(chosen) || (cut > 0 ? `+${cut} more` : "");
    setAttribute(this.more, "hidden", left === "");
    setText(this.more, left);
    return grid.rows.length > 0;
  }

  remove() {
    this.scroller.remove();
    this.more.remove();
  }
}

function createHeading() {
  const name = element("span", { class: "table__name" });
  return { node: element("th", { scope: "col" }, name), name };
}

function updateHeading(part, heading) {
  setText(part.name, heading.text);
  setAttribute(part.node, "title", heading.text || null);
  setAttribute(part.node, "data-numeric", heading.numeric);
}

function createRow() {
  const name = element("span", { class: "table__name" });
  const head = element("th", { scope: "row" }, name);
  const node = element("tr", {}, head);
  const cells = new KeyedList(node, createCell, updateCell);
  return { node, head, name, cells };
}

function updateRow(part, row) {
  setText(part.name, row.head);
  setAttribute(part.head, "title", row.head);
  part.cells.show([
    { key: "head", node: part.head },
    ...row.cells.map((cell, index) => ({ key: `${index}`, ...cell })),
  ]);
}
