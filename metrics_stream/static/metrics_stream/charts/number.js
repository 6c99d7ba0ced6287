// A big number with its trend: what it was, how much it changed. Room: charts.

import { leftEdgeMs } from "../client/columns.js";
import { formatChange, formatDuration, formatParts } from "../client/format.js";
import { levelOf, readingsOf } from "../client/readings.js";
import { element, KeyedList, setAttribute, setStyle, setText } from "./dom.js";
import { Sparkline } from "./sparkline.js";

/** With more sources than this the panel says how many are left out. */
export const MOST_READINGS = 3;

/** Figures up to this many characters have one size, so that the numbers of a row look alike. */
const SHORTEST_FIGURE = 7;

/** A change over less than this says nothing. */
const SHORTEST_TREND_MS = 10_000;

export class NumberChart {
  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.hasTrend = panel.options.trend ?? true;
    this.windowMs = (panel.options.window_seconds ?? 300) * 1000;
    this.list = element("div", { class: "number__list" });
    this.more = element("p", { class: "panel__more", hidden: true });
    host.append(this.list, this.more);
    this.readings = new KeyedList(this.list, () => this.#create(), (...all) => this.#update(...all));
    this.nowMs = 0;
  }

  /** @param {{store: Store, source: string | null, nowMs: number}} frame @returns {boolean} */
  paint({ store, source, nowMs }) {
    this.nowMs = nowMs;
    this.fromMs = leftEdgeMs(nowMs, this.windowMs, store.firstMs);
    const all = readingsOf(store, this.panel, source);
    const shown = all.slice(0, MOST_READINGS);
    setAttribute(this.list, "data-count", shown.length);
    this.labelled = all.length > 1;
    this.readings.show(shown);
    setAttribute(this.more, "hidden", all.length <= MOST_READINGS);
    if (all.length > MOST_READINGS) setText(this.more, `+${all.length - MOST_READINGS} more`);
    this.level = worst(shown.map((reading) => levelOf(reading.value, this.panel)));
    return all.length > 0;
  }

  stop() {}

  #create() {
    const label = element("span", { class: "number__label" });
    const prefix = element("span", { class: "number__prefix" });
    const text = element("span", { class: "number__text" });
    const unit = element("span", { class: "number__unit" });
    const figure = element("p", { class: "number__figure numeric" }, prefix, text, unit);
    const change = element("span", { class: "number__change numeric" });
    const sparkline = new Sparkline();
    const trend = element("div", { class: "number__trend" }, sparkline.node);
    const node = element("div", { class: "number" }, label, figure, change);
    if (this.hasTrend) node.append(trend);
    return { node, label, figure, prefix, text, unit, change, sparkline, widest: 0 };
  }

  #update(part, reading) {
    const unit = this.panel.unit || reading.field.unit;
    const number = typeof reading.value === "number";
    const parts = number ? formatParts(reading.value, unit, this.panel.decimals) : { text: String(reading.value ?? "–"), unit: "", prefix: "" };
    setAttribute(part.label, "hidden", !this.labelled);
    setText(part.label, this.labelled ? reading.label : "");
    setText(part.prefix, parts.prefix);
    setText(part.text, parts.text);
    setText(part.unit, parts.unit);
    setAttribute(part.node, "data-level", levelOf(reading.value, this.panel));
    const length = parts.prefix.length + parts.text.length + parts.unit.length * 0.5;
    // The size follows the longest text so far: it never grows back, so the number does not pump.
    if (length > part.widest) {
      part.widest = length;
      setStyle(part.figure, "--characters", String(Math.max(SHORTEST_FIGURE, length)));
    }
    if (!this.hasTrend) return;
    const { series } = reading;
    setText(part.change, series === null ? "" : this.#change(series, unit));
    part.sparkline.paint(series, this.fromMs, this.nowMs);
  }

  #change(series, unit) {
    const fromMs = this.nowMs - this.windowMs;
    const { times, values } = series;
    const first = times.findIndex((timeMs, index) => timeMs >= fromMs && !Number.isNaN(values[index]));
    if (first < 0) return "";
    const spanMs = series.lastTimeMs - times[first];
    if (spanMs < SHORTEST_TREND_MS) return "";
    const change = formatChange(series.lastValue, values[first], unit);
    if (change === "") return "";
    const span = formatDuration(Math.round(spanMs / 10_000) * 10_000);
    const rising = change.startsWith("+");
    if (!rising && !change.startsWith("-")) return `no change in ${span}`;
    return `${rising ? "↑" : "↓"} ${change.slice(1)} in ${span}`;
  }
}

/**
 * @param {string[]} levels
 * @returns {"none" | "good" | "warn" | "bad"}
 */
export function worst(levels) {
  return ["bad", "warn", "good"].find((level) => levels.includes(level)) ?? "none";
}
