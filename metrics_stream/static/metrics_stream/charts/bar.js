// Horizontal bars: fields, sources, agents, or the numbers inside an object.

import { formatNumber, nameBesideUnit } from "../client/format.js";
import { levelOf, worst } from "../client/levels.js";
import { choose, describeLeft, readingsOf } from "../client/readings.js";
import { element, KeyedList, setAttribute, setStyle, setText } from "./dom.js";

/** Up to this many rows each bar is under its label; with more rows it is beside it. */
const ROOMY_ROWS = 6;

export class BarChart {
  #widest = 0;

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.maxRows = panel.options.max_rows ?? 20;
    this.list = element("ul", { class: "bars" });
    this.more = element("p", { class: "panel__more", hidden: true });
    host.append(this.list, this.more);
    this.rows = new KeyedList(
      this.list,
      () => this.#createRow(),
      (...all) => this.#updateRow(...all),
    );
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint({ store, source }) {
    const chosen = choose(store, this.panel, source, this.maxRows);
    const readings = readingsOf(store, this.panel, source, chosen.shown);
    const all = readings.flatMap((reading) => barsOf(reading, readings.length > 1));
    const shown = all.slice(0, this.maxRows);
    const { minimum, maximum } = this.panel.options;
    this.low = minimum ?? 0;
    this.high = maximum ?? Math.max(...all.map((bar) => bar.value), this.low);
    if (!(this.high > this.low)) this.high = this.low + 1;
    this.#widest = Math.max(this.#widest, ...shown.map((bar) => this.#formatBar(bar).length));
    setStyle(this.list, "--value-width", `${this.#widest}ch`);
    setAttribute(this.list, "data-dense", shown.length > ROOMY_ROWS);
    this.rows.show(shown);
    const cut = all.length - shown.length + chosen.left.length * this.panel.fields.length;
    const left = this.panel.fields.length === 1 && all.length === shown.length ? describeLeft(chosen) : "";
    this.#showMore(left || (cut > 0 ? `+${cut.toLocaleString("en")} more` : ""));
    this.level = worst(shown.map((bar) => levelOf(bar.value, this.panel)));
    return all.length > 0;
  }

  stop() {}

  #showMore(words) {
    setAttribute(this.more, "hidden", words === "");
    setText(this.more, words);
  }

  #formatBar(bar) {
    return formatNumber(bar.value, bar.unit, this.panel.decimals);
  }

  #createRow() {
    const label = element("span", { class: "bars__label" });
    const fill = element("span", { class: "bars__fill" });
    const value = element("span", { class: "bars__value numeric" });
    const track = element("span", { class: "bars__track", "aria-hidden": "true" }, fill);
    return { node: element("li", { class: "bars__row" }, label, value, track), label, fill, value };
  }

  #updateRow(part, bar) {
    setText(part.label, bar.label);
    setAttribute(part.label, "title", bar.label);
    setText(part.value, this.#formatBar(bar));
    setAttribute(part.value, "title", bar.outside || null);
    setAttribute(part.value, "data-outside", bar.outside !== "");
    const fraction = Math.min(1, Math.max(0, (bar.value - this.low) / (this.high - this.low)));
    setStyle(part.fill, "transform", `scaleX(${fraction.toFixed(4)})`);
    setAttribute(part.node, "data-level", levelOf(bar.value, this.panel));
  }
}

/**
 * Return the bars of one reading: itself, or the numbers inside its object.
 *
 * @param {Reading} reading
 * @param {boolean} [isOneOfSeveral] whether the bars of an object need the name of the object, too
 * @returns {{key: string, label: string, value: number, unit: string, outside: string}[]}
 */
export function barsOf({ key, label, value, unit, unitAt, outside }, isOneOfSeveral = false) {
  if (typeof value === "number") return [{ key, label, value, unit, outside }];
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [];
  return Object.entries(value)
    .filter(([, inner]) => typeof inner === "number")
    .map(([name, inner]) => ({
      key: `${key}\u0000${name}`,
      label: `${nameBesideUnit(name, unitAt(name))}${isOneOfSeveral ? ` · ${label}` : ""}`,
      value: inner,
      unit: unitAt(name),
      outside: "",
    }));
}
