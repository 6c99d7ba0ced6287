// A large number with its trend: the change, and a sparkline.

import { addedReadings } from "../client/added_sources.js";
import { leftEdgeMs } from "../client/columns.js";
import { formatChange, formatDuration, formatParts, formatValue } from "../client/format.js";
import { levelOf } from "../client/levels.js";
import { choose, readingsOf } from "../client/readings.js";
import { element, setAttribute, setStyle, setText } from "./dom.js";
import { MAX_READINGS, ReadingGroup } from "./reading_group.js";
import { Sparkline } from "./sparkline.js";

/** Numbers of up to this many characters have the same size, so that the panels of a row look alike. */
const SHORTEST_FIGURE = 7;

/** A change within less time is not shown. */
const SHORTEST_TREND_MS = 10_000;

export class NumberChart {
  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.hasTrend = panel.options.trend ?? true;
    this.windowMs = (panel.options.window_seconds ?? 300) * 1000;
    this.group = new ReadingGroup(
      panel,
      host,
      "number__list",
      () => this.#createFigure(),
      (...all) => this.#updateFigure(...all),
    );
    this.nowMs = 0;
    this.shownMs = this.windowMs;
  }

  /** @param {{store: Store, source: string | null, moment: Moment}} frame @returns {boolean} */
  paint({ store, source, moment: { nowMs, windowMs } }) {
    this.nowMs = nowMs;
    this.shownMs = windowMs ?? this.windowMs;
    this.fromMs = leftEdgeMs(nowMs, this.shownMs, store.firstMs);
    if (this.panel.options.add_sources) {
      this.level = this.group.show(addedReadings(store, this.panel, source), { shown: [], left: [], countedWords: [] });
    } else {
      const chosen = choose(store, this.panel, source, MAX_READINGS);
      this.level = this.group.show(readingsOf(store, this.panel, source, chosen.shown), chosen);
    }
    return this.group.total > 0;
  }

  stop() {}

  #createFigure() {
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

  #updateFigure(part, reading) {
    const { unit } = reading;
    const number = typeof reading.value === "number";
    const parts = number
      ? formatParts(reading.value, unit, this.panel.decimals)
      : { text: formatValue(reading.value, unit, this.panel.decimals, reading.unitAt), unit: "", prefix: "" };
    setAttribute(part.label, "hidden", !this.group.labelled);
    setText(part.label, this.group.labelled ? reading.label : "");
    setAttribute(part.label, "title", this.group.labelled ? reading.label : null);
    setText(part.prefix, parts.prefix);
    setText(part.text, parts.text);
    setText(part.unit, parts.unit);
    setAttribute(part.node, "data-level", levelOf(reading.value, this.panel));
    const length = parts.prefix.length + parts.text.length + parts.unit.length * 0.5;
    // The size follows the longest text so far and never grows again, so that the number rarely changes its size.
    if (length > part.widest) {
      part.widest = length;
      setStyle(part.figure, "--characters", String(Math.max(SHORTEST_FIGURE, length)));
    }
    const { series, outside, note = "" } = reading;
    // What a person must know of the value comes before its change.
    const change = this.hasTrend && series !== null ? this.#describeChange(series, unit) : "";
    setText(part.change, outside || note || change);
    setAttribute(part.change, "data-outside", outside !== "");
    setAttribute(part.change, "title", outside || null);
    if (!this.hasTrend) return;
    part.sparkline.paint(series, this.fromMs, this.nowMs, reading.field);
  }

  #describeChange(series, unit) {
    const fromMs = this.nowMs - this.shownMs;
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
