// A gauge: a value between two bounds, with the thresholds on its arc. It is an ARIA meter, drawn in SVG.

import { isShare, outsideWords } from "../client/bounds.js";
import { formatNumber, formatParts } from "../client/format.js";
import { levelOf } from "../client/levels.js";
import { choose, readingsOf } from "../client/readings.js";
import { element, setAttribute, setStyle, setText, svgElement } from "./dom.js";
import { OutsideMark } from "./outside_mark.js";
import { MAX_READINGS, ReadingGroup } from "./reading_group.js";

/** Longer figures are smaller, or they would run over the arc. */
const WIDEST_FIGURE = 6;

const RADIUS = 52;
/** The arc is open by 120 degrees at the bottom. */
const SWEEP_DEGREES = 240;

export class GaugeChart {
  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.group = new ReadingGroup(
      panel,
      host,
      "gauge__list",
      () => this.#createGauge(),
      (...all) => this.#updateGauge(...all),
    );
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint({ store, source }) {
    const chosen = choose(store, this.panel, source, MAX_READINGS);
    const readings = readingsOf(store, this.panel, source, chosen.shown);
    const numbers = readings.filter((reading) => typeof reading.value === "number");
    this.level = this.group.show(numbers, chosen);
    return this.group.total > 0;
  }

  stop() {}

  #createGauge() {
    const value = svgElement("path", { class: "gauge__value", d: arc(0, 1), pathLength: 100 });
    const marks = svgElement("g", { class: "gauge__marks" });
    const text = element("span", { class: "gauge__text" });
    const unit = element("span", { class: "gauge__unit" });
    const low = svgElement("text", { class: "gauge__bound", x: 22, y: 104, "text-anchor": "middle" });
    const high = svgElement("text", { class: "gauge__bound", x: 98, y: 104, "text-anchor": "middle" });
    const dial = svgElement(
      "svg",
      { class: "gauge__dial", viewBox: "0 0 120 108", "aria-hidden": "true" },
      svgElement("path", { class: "gauge__track", d: arc(0, 1) }),
      value,
      marks,
      low,
      high,
    );
    const figure = element("p", { class: "gauge__figure numeric" }, text, unit);
    const meter = element("div", { class: "gauge", role: "meter" }, dial, figure);
    const label = element("p", { class: "gauge__label" });
    const outside = new OutsideMark();
    return {
      node: element("div", { class: "gauge__item" }, meter, label, outside.node),
      meter,
      figure,
      outside,
      value,
      marks,
      low,
      high,
      text,
      unit,
      label,
    };
  }

  #updateGauge(part, reading) {
    const { unit } = reading;
    const [low, high] = gaugeBounds(this.panel.options, unit, reading.value);
    const fraction = Math.min(1, Math.max(0, (reading.value - low) / (high - low)));
    const parts = formatParts(reading.value, unit, this.panel.decimals);
    setText(part.text, parts.prefix + parts.text);
    setText(part.unit, parts.unit);
    const length = parts.prefix.length + parts.text.length + parts.unit.length * 0.5;
    setStyle(part.figure, "--characters", String(Math.max(WIDEST_FIGURE, length)));
    const words = (bound) => formatNumber(bound, unit, isShare(unit) ? 0 : null);
    setText(part.low, words(low));
    setText(part.high, words(high));
    part.outside.show(reading.outside || outsideWords(reading.value, { unit, minimum: low, maximum: high }, unit));
    setText(part.label, this.group.labelled ? reading.label : "");
    setAttribute(part.label, "title", this.group.labelled ? reading.label : null);
    setAttribute(part.label, "hidden", !this.group.labelled);
    setStyle(part.value, "stroke-dasharray", `${(fraction * 100).toFixed(1)} 200`);
    const level = levelOf(reading.value, this.panel);
    setAttribute(part.node, "data-level", level);
    setAttribute(
      part.meter,
      "aria-label",
      this.group.labelled ? `${this.panel.title}, ${reading.label}` : this.panel.title,
    );
    setAttribute(part.meter, "aria-valuemin", low);
    setAttribute(part.meter, "aria-valuemax", high);
    setAttribute(part.meter, "aria-valuenow", Math.min(Math.max(reading.value, low), high));
    setAttribute(part.meter, "aria-valuetext", formatNumber(reading.value, unit, this.panel.decimals));
    this.#drawMarks(part.marks, low, high);
  }

  #drawMarks(marks, low, high) {
    const key = `${low} ${high}`;
    if (marks.dataset.drawn === key) return;
    marks.dataset.drawn = key;
    marks.replaceChildren(
      ...zonesOf(this.panel, low, high).map(([from, to, level]) =>
        svgElement("path", { class: "gauge__zone", "data-level": level, d: arc(from, to, RADIUS - 7.5) }),
      ),
    );
  }
}

/**
 * Return the warning and critical zones of a gauge, as fractions of its arc.
 *
 * @param {{warning_at: number | null, critical_at: number | null}} panel
 * @param {number} low
 * @param {number} high
 * @returns {[number, number, "warn" | "bad"][]}
 */
export function zonesOf({ warning_at: warningAt, critical_at: criticalAt }, low, high) {
  const fraction = (value) => Math.min(1, Math.max(0, (value - low) / (high - low)));
  const zones = [];
  if (warningAt !== null && criticalAt !== null && criticalAt < warningAt) {
    zones.push([0, fraction(criticalAt), "bad"], [fraction(criticalAt), fraction(warningAt), "warn"]);
  } else {
    if (warningAt !== null) zones.push([fraction(warningAt), criticalAt === null ? 1 : fraction(criticalAt), "warn"]);
    if (criticalAt !== null) zones.push([fraction(criticalAt), 1, "bad"]);
  }
  return zones.filter(([from, to]) => to > from);
}

/**
 * Return the bounds of a gauge: those of the panel, else 0–1 or 0–100 for shares, else 0 to a round number above.
 *
 * @param {{minimum?: number, maximum?: number}} options
 * @param {string} unit
 * @param {number} value
 * @returns {[number, number]}
 */
export function gaugeBounds({ minimum, maximum }, unit, value) {
  const low = minimum ?? 0;
  const natural = unit === "ratio" ? 1 : unit === "percent" ? 100 : roundAbove(value);
  const high = maximum ?? natural;
  return [low, high > low ? high : low + 1];
}

function roundAbove(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value * 1.05) * power || 10 * power;
}

function point(fraction, radius) {
  const angle = ((fraction - 0.5) * SWEEP_DEGREES * Math.PI) / 180;
  return [(60 + radius * Math.sin(angle)).toFixed(2), (60 - radius * Math.cos(angle)).toFixed(2)];
}

function arc(from, to, radius = RADIUS) {
  const large = (to - from) * SWEEP_DEGREES > 180 ? 1 : 0;
  return `M${point(from, radius).join(" ")}A${radius} ${radius} 0 ${large} 1 ${point(to, radius).join(" ")}`;
}
