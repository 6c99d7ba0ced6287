// A table of the rows of a metric type with a key: requests, errors, agents. A person sorts and searches it.

import { outsideWords } from "../client/bounds.js";
import { humanize } from "../client/format.js";
import { hasPart, isOther } from "../client/keys.js";
import { lookUp } from "../client/path.js";
import { choose, describeLeft } from "../client/readings.js";
import { nextOrder, sortRows } from "../client/row_order.js";
import { addsSources, nameRow, rowsOf, totalOf, valueOf } from "../client/rows.js";
import { statedUnit } from "../client/units.js";
import { element, KeyedList, setAttribute, setText } from "./dom.js";
import { readingCell } from "./grid.js";
import { RowWindow } from "./row_window.js";
import { createCell, updateCell } from "./table_cell.js";

/** Up to this many rows are found without a search. */
const MOST_WITHOUT_SEARCH = 20;

/** What a table shows if its panel does not say: requests are compared, agents are watched one by one. */
const MOST_ROWS = 1_000;
const MOST_AGENTS = 20;

/** Fields that name an agent; they are in the head of its row. */
const NAMES = new Set(["agent_id", "agent_name"]);

const OTHER_WORDS = "Names beyond the limit of a source, added up";

/** The field of the row `(other)` that says how many rows are in it. */
const FOLDED = "folded_rows";
const WORST_WORDS = "The highest of the sources: their percentiles do not add up";

export class RowTable {
  /** @type {{store: Store, source: string | null} | null} */
  #frame = null;
  /** @type {Column[]} */
  #columns = [];
  /** @type {Order | null} the choice of the person */
  #order = null;
  #wanted = "";

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.#order = this.#recallOrder();
    this.search = element("input", {
      class: "input rows__search",
      type: "search",
      "aria-label": `Search in ${panel.title}`,
      placeholder: "Search",
      autocomplete: "off",
      spellcheck: "false",
    });
    this.count = element("span", { class: "rows__count numeric", role: "status" });
    this.bar = element("div", { class: "rows__bar", hidden: true }, this.search, this.count);
    this.headRow = element("tr");
    this.totalRow = element("tr");
    this.foot = element("tfoot", { hidden: true }, this.totalRow);
    this.table = element(
      "table",
      { class: "table rows__table" },
      element("caption", { class: "visually-hidden" }, panel.title),
      element("thead", {}, this.headRow),
    );
    this.scroller = element(
      "div",
      { class: "table__scroller rows", tabindex: "0", role: "region", "aria-label": panel.title },
      this.table,
    );
    this.more = element("p", { class: "panel__more", hidden: true });
    host.append(this.bar, this.scroller, this.more);
    this.headings = new KeyedList(this.headRow, (column) => this.#createHeading(column), (...all) => this.#updateHeading(...all));
    this.window = new RowWindow(this.scroller, this.table, () => createRow(), (part, row) => this.#updateRow(part, row));
    this.table.append(this.foot);
    this.total = createCells(this.totalRow);
    this.search.addEventListener("input", () => {
      this.#wanted = this.search.value.trim().toLowerCase();
      this.scroller.scrollTop = 0;
      this.#repaint();
    });
    this.search.addEventListener("keydown", (event) => {
      // Escape empties the field; it must not end a replay as well.
      if (event.key === "Escape" && this.search.value !== "") event.stopPropagation();
    });
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint({ store, source }) {
    this.#frame = { store, source };
    return this.#repaint();
  }

  remove() {
    this.window.stop();
    for (const node of [this.bar, this.scroller, this.more]) node.remove();
  }

  #repaint() {
    const { store, source } = this.#frame;
    const { panel } = this;
    const isFilled = ({ latest }) => latest.some(({ data }) => panel.fields.some(({ path }) => lookUp(data, path) !== undefined));
    const all = rowsOf(store, panel, source).filter(isFilled);
    const key = all[0]?.latest[0].key ?? [];
    const isAdded = addsSources(panel, key);
    this.#columns = this.#columnsFor(all, key);
    this.judged = this.#columns.filter(({ field }) => field !== null).length === 1;
    const order = this.#currentOrder(isAdded);
    this.headings.show(this.#columns.map((column) => ({ key: column.id, column, order })));
    const most = panel.options.max_rows ?? (isAdded ? MOST_ROWS : MOST_AGENTS);
    const { rows, words } = isAdded || order !== null ? this.#sort(all, order, isAdded) : this.#chooseWorst(all, most);
    const found = this.#wanted === "" ? rows : rows.filter((row) => this.#isFound(row));
    this.shown = found.slice(0, most);
    this.window.show(this.shown);
    this.#showTotal(isAdded && found.length > 1 ? found : []);
    this.#showBar(all, found, isAdded);
    const left = found.length - this.shown.length;
    this.#showMore(words || (left > 0 ? `+${left.toLocaleString("en")} more` : ""), all);
    return all.length > 0;
  }

  #columnsFor(rows, key) {
    const isRequest = key.includes("name") && key.includes("method");
    const head = isRequest ? "Request" : key[0] === "agent_id" ? "Agent" : humanize(key[0] ?? "");
    const inHead = new Set(key.includes("name") ? ["name", "method"] : [key[0]]);
    const parts = key.filter((part) => !inHead.has(part) && rows.some(({ row }) => hasPart(row, part)));
    const fields = this.panel.fields.filter(({ path }) => !NAMES.has(path) && !key.includes(path));
    return [
      { id: "", label: head, field: null, part: null },
      ...parts.map((part) => ({ id: `key ${part}`, label: humanize(part), field: null, part })),
      ...fields.map((field) => ({ id: field.path, label: field.label, field, part: null })),
    ];
  }

  /** Return the order of the rows: the person's, else the largest count first; agents come as they are named. */
  #currentOrder(isAdded) {
    if (this.#columns.some(({ id }) => id === this.#order?.id)) return this.#order;
    if (!isAdded) return null;
    const numbers = this.#columns.filter(({ field }) => field !== null && field.kind !== "text");
    const first = numbers.find(({ field }) => field.kind === "counter") ?? numbers[0];
    return { id: first?.id ?? "", isDescending: first !== undefined };
  }

  #sort(rows, { id, isDescending }, isAdded) {
    const column = this.#columns.find((each) => each.id === id);
    const live = isAdded ? rows : rows.filter(({ isStale }) => !isStale);
    const how = { isDescending, isOther: ({ row }) => isOther(row) };
    return { rows: sortRows(live, (row) => this.#valueIn(row, column), how), words: "" };
  }

  #valueIn(row, { field, part }) {
    if (field !== null) return valueOf(row, field, this.panel).value;
    const { head, rest } = nameRow(row);
    return part === null ? head : rest[part];
  }

  /** Return the rows in the order of their sources, or the worst ones where there are too many. */
  #chooseWorst(rows, most) {
    const { store, source } = this.#frame;
    const searched = this.#wanted !== "";
    const chosen = choose(store, this.panel, source, searched ? Infinity : most);
    const byLatest = new Map(rows.map((row) => [row.latest[0], row]));
    return {
      rows: chosen.shown.map((latest) => byLatest.get(latest)).filter((row) => row !== undefined),
      words: searched ? "" : describeLeft(chosen),
    };
  }

  #isFound(row) {
    const { head, rest, latest } = nameRow(row);
    const texts = [head, ...Object.values(rest), latest[0].row === row.id ? "" : latest[0].source];
    return texts.some((text) => String(text).toLowerCase().includes(this.#wanted));
  }

  #showBar(all, found, isAdded) {
    setAttribute(this.bar, "hidden", all.length <= MOST_WITHOUT_SEARCH && this.#wanted === "");
    const sources = isAdded ? new Set(all.flatMap(({ latest }) => latest.map(({ source }) => source))).size : 1;
    const count = (number) => number.toLocaleString("en");
    const number = this.#wanted === "" ? count(all.length) : `${count(found.length)} of ${count(all.length)}`;
    const of = sources > 1 ? ` · ${sources} sources added up` : "";
    setText(this.count, `${number} ${all.length === 1 ? "row" : "rows"}${of}`);
  }

  #showMore(words, all) {
    const folded = all.filter(({ row }) => isOther(row)).flatMap(({ latest }) => latest.map(({ data }) => data[FOLDED]));
    // Each source has its own; the same names may be in several of them.
    const count = Math.max(0, ...folded.filter((number) => typeof number === "number"));
    const number = count > 0 ? `${count.toLocaleString("en")} more` : "Further";
    const other = folded.length > 0 ? `${number} names in (other)` : "";
    const text = [words, other].filter(Boolean).join(" · ");
    setAttribute(this.more, "hidden", text === "");
    setText(this.more, text);
  }

  #showTotal(rows) {
    setAttribute(this.foot, "hidden", rows.length === 0);
    if (rows.length === 0) return;
    setText(this.total.name, this.#wanted === "" ? "Total" : "Total of the found");
    this.total.cells.show([
      { key: "head", node: this.total.head },
      ...this.#columns.slice(1).map((column) => ({
        key: column.id,
        ...(column.field === null ? NOTHING : this.#cellOf(totalOf(rows, column.field, this.panel), column.field, [])),
      })),
    ]);
  }

  #updateRow(part, row) {
    const { head, rest, isOther: isFolded, isStale, latest } = nameRow(row);
    const severalSources = latest.length === 1 && row.id !== row.row && this.#hasSeveralSources();
    const name = severalSources ? `${head} · ${latest[0].source}` : head;
    setText(part.name, name);
    setAttribute(part.head, "title", isFolded ? OTHER_WORDS : isStale ? `${name}: no new data` : name);
    setAttribute(part.node, "data-other", isFolded);
    setAttribute(part.node, "data-stale", isStale);
    part.cells.show([
      { key: "head", node: part.head },
      ...this.#columns.slice(1).map((column) => ({
        key: column.id,
        ...(column.field === null
          ? { ...NOTHING, text: rest[column.part] ?? "" }
          : this.#cellOf(valueOf(row, column.field, this.panel), column.field, latest)),
      })),
    ]);
  }

  #hasSeveralSources() {
    const first = this.shown[0]?.latest[0].source;
    return this.shown.some(({ latest }) => latest[0].source !== first);
  }

  #cellOf({ value, unit, isWorst }, field, latest) {
    const units = latest[0]?.units;
    const unitAt = (path) => this.panel.unit || statedUnit(units, `${field.path}.${path}`) || field.units?.[path] || "";
    const outside = outsideWords(value, field, unit);
    const cell = readingCell({ value, unit, unitAt, outside }, this.panel, this.judged);
    // A missing number stands below the others.
    if (value === undefined || value === null) cell.numeric = field.kind !== "text" && field.kind !== undefined;
    return isWorst ? { ...cell, text: `≤\u00a0${cell.text}`, note: WORST_WORDS } : cell;
  }

  // ---- the order ----

  #createHeading({ column }) {
    const name = element("span", { class: "rows__label" });
    const mark = element("span", { class: "rows__mark", "aria-hidden": "true" });
    const button = element("button", { class: "rows__sort", type: "button" }, name, mark);
    button.addEventListener("click", () => this.#sortBy(column.id));
    return { node: element("th", { scope: "col" }, button), name, button };
  }

  #updateHeading(part, { column, order }) {
    const { id, label, field } = column;
    const isSorted = order?.id === id;
    setText(part.name, label);
    setAttribute(part.button, "title", `Sort by ${label}`);
    setAttribute(part.node, "data-numeric", field !== null && field.kind !== "text");
    setAttribute(part.node, "aria-sort", isSorted ? (order.isDescending ? "descending" : "ascending") : null);
  }

  #sortBy(id) {
    const column = this.#columns.find((each) => each.id === id);
    if (column === undefined) return;
    const rows = rowsOf(this.#frame.store, this.panel, this.#frame.source);
    const current = this.#currentOrder(addsSources(this.panel, rows[0]?.latest[0].key ?? []));
    this.#order = nextOrder(current, column);
    this.#keepOrder();
    this.#repaint();
  }

  get #place() {
    return `metrics-stream table ${this.panel.id}`;
  }

  #recallOrder() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#place));
    } catch {
      return null;
    }
  }

  #keepOrder() {
    try {
      sessionStorage.setItem(this.#place, JSON.stringify(this.#order));
    } catch {
      // Without storage the order lasts as long as the page.
    }
  }
}

const NOTHING = { text: "", numeric: false, level: "none", outside: "" };

function createRow() {
  const node = element("tr");
  return { node, ...createCells(node) };
}

function createCells(node) {
  const name = element("span", { class: "table__name" });
  const head = element("th", { scope: "row" }, name);
  node.append(head);
  return { name, head, cells: new KeyedList(node, createCell, updateCell) };
}
