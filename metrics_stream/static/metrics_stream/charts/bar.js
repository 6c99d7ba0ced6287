// Horizontal bars: fields, sources, agents, or the numbers inside an object.

import { formatNumber, nameOf, unitOf } from "../client/format.js";
import { levelOf, readingsOf, worst } from "../client/readings.js";
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
    const all = readingsOf(store, this.panel, source).flatMap((reading) => barsOf(reading, this.panel.unit));
    const shown = all.slice(0, this.maxRows);
    const { minimum, maximum } = this.panel.options;
    this.low = minimum ?? 0;
    this.high = maximum ?? Math.max(...all.map((bar) => bar.value), this.low);
    if (!(this.high > this.low)) this.high = this.low + 1;
    this.#widest = Math.max(this.#widest, ...shown.map((bar) => this.#formatBar(bar).length));
    setStyle(this.list, "--value-width", `${this.#widest}ch`);
    setAttribute(this.list, "data-dense", shown.length > ROOMY_ROWS);
    this.rows.show(shown);
    setAttribute(this.more, "hidden", all.length <= this.maxRows);
    if (all.length > this.maxRows) setText(this.more, `+${all.length - this.maxRows} more`);
    this.level = worst(shown.map((bar) => levelOf(bar.value, this.panel)));
    return all.length > 0;
  }

  stop() {}

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
    const fraction = Math.min(1, Math.max(0, (bar.value - this.low) / (this.high - this.low)));
    setStyle(part.fill, "transform", `scaleX(${fraction.toFixed(4)})`);
    setAttribute(part.node, "data-level", levelOf(bar.value, this.panel));
  }
}

/**
 * Return the bars of one reading: itself, or the numbers inside its object.
 *
 * @param {Reading} reading
 * @param {string} panelUnit
 * @returns {{key: string, label: string, value: number, unit: string}[]}
 */
export function barsOf(reading, panelUnit) {
  const { value, field, key, label } = reading;
  if (typeof value === "number") return [{ key, label, value, unit: panelUnit || field.unit }];
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [];
  return Object.entries(value)
    .filter(([, inner]) => typeof inner === "number")
    .map(([name, inner]) => ({
      key: `${key}\u0000${name}`,
      label: nameOf(name),
      value: inner,
      unit: panelUnit || unitOf(name),
    }));
}
