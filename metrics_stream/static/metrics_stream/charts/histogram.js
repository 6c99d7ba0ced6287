// A histogram of a sketch: how many of the values in the shown time are how large, on a logarithmic axis.

import { formatDuration, formatNumber, humanize, nameBesideUnit, NO_VALUE } from "../client/format.js";
import { levelOf } from "../client/levels.js";
import { sketchesOf } from "../client/readings.js";
import { Sketch, WIDTH } from "../client/sketch.js";
import { element, KeyedList, setAttribute, setStyle, setText } from "./dom.js";
import { DrawPace } from "./draw_pace.js";
import { logTickLabel, logTicks } from "./log_axis.js";
import { valueLabels } from "./value_axis.js";

const PERCENTILES = [
  ["p50", 0.5],
  ["p95", 0.95],
  ["p99", 0.99],
];

/** Merging the sketches of an hour takes some milliseconds, so that new ones are drawn no more often than this. */
const NEW_VALUES_MS = 250;

/** The time axis of other charts moves all the time; a histogram changes visibly after this time only. */
const MOVE_MS = 1000;

const BAR_PX = 9;
const FEWEST_BARS = 12;
const MOST_BARS = 64;

const TICK_PX = 52;
/** Two percentiles closer than this share a tag. */
const TAG_PX = 36;

export class HistogramChart {
  /** @type {{store: Store, source: string | null} | null} */
  #source = null;
  #pace = new DrawPace(NEW_VALUES_MS, MOVE_MS);

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.field = panel.fields[0];
    this.unit = panel.unit || this.field.unit;
    this.windowMs = (panel.options.window_seconds ?? 300) * 1000;
    this.legend = element("dl", { class: "histogram__legend" });
    this.tags = element("div", { class: "histogram__tags" });
    this.grid = element("div", { class: "histogram__grid" });
    this.bars = element("div", { class: "histogram__bars" });
    this.marks = element("div", { class: "histogram__marks" });
    this.plot = element("div", { class: "histogram__plot" }, this.grid, this.bars, this.marks);
    this.axis = element("div", { class: "histogram__axis numeric" });
    this.picture = element("div", { class: "histogram", role: "img" }, this.tags, this.plot, this.axis);
    this.caption = element("p", { class: "histogram__caption numeric" });
    const body = element("tbody");
    const head = element("tr", {}, ...["Over", "Up to", "Values"].map((text) => element("th", { scope: "col" }, text)));
    const caption = element("caption", {}, panel.title);
    const table = element("table", { class: "visually-hidden" }, caption, element("thead", {}, head), body);
    host.append(this.legend, this.picture, this.caption, table);
    this.figures = new KeyedList(this.legend, createFigure, (part, { name, text }) => {
      setText(part.name, name);
      setText(part.value, text);
    });
    this.tagList = new KeyedList(this.tags, () => ({ node: element("span") }), placeText);
    this.gridLines = new KeyedList(this.grid, () => ({ node: element("span", { class: "numeric" }) }), placeGridLine);
    const createBar = () => ({ node: element("span") });
    this.barList = new KeyedList(this.bars, createBar, (part, bar) => this.#updateBar(part, bar));
    this.markList = new KeyedList(this.marks, createMark, placeMark);
    this.tickList = new KeyedList(this.axis, () => ({ node: element("span") }), placeText);
    this.rows = new KeyedList(body, createRow, (part, bar) => this.#updateRow(part, bar));
  }

  /** @param {{store: Store, source: string | null, moment: Moment}} frame @returns {boolean} */
  paint({ store, source, moment }) {
    this.#source = { store, source };
    const isDue = this.#pace.noteNews();
    const isFilled = this.#sketches().length > 0;
    if (isFilled && isDue) this.#update(moment);
    return isFilled;
  }

  /**
   * Draw what came since the last drawing, and leave out what has become too old.
   *
   * @param {Moment} moment
   * @returns {boolean} whether it drew
   */
  draw(moment) {
    if (this.#source === null || !this.#pace.isDue(this.#timeRange(moment))) return false;
    this.#update(moment);
    return true;
  }

  stop() {}

  #sketches() {
    return sketchesOf(this.#source.store, this.panel, this.#source.source);
  }

  /** Return what is measured, without a unit that the axis has. @returns {string} */
  #name() {
    const key = this.field.path.split(".").at(-1);
    return this.field.label === humanize(key) ? nameBesideUnit(key, this.unit) : this.field.label;
  }

  #timeRange({ nowMs, windowMs, zoom }) {
    return zoom ?? { fromMs: nowMs - (windowMs ?? this.windowMs), toMs: nowMs };
  }

  #update(moment) {
    const { fromMs, toMs } = this.#timeRange(moment);
    this.#pace.begin({ fromMs, toMs });
    const series = this.#sketches();
    this.unit = this.panel.unit || series.find(({ unit }) => unit)?.unit || this.field.unit;
    const sketch = new Sketch();
    for (const each of series) each.mergeInto(sketch, fromMs, toMs);
    const quantiles = sketch.quantiles(PERCENTILES.map(([, share]) => share));
    // The slowest values are what a threshold is about.
    this.level = levelOf(quantiles.at(-1), this.panel);
    const firstMs = Math.min(...series.map((each) => each.firstTimeMs));
    this.#show(sketch, quantiles, Math.max(MOVE_MS, toMs - Math.max(fromMs, firstMs)));
  }

  #show(sketch, quantiles, spanMs) {
    const { count, zeros } = sketch;
    const width = this.plot.clientWidth;
    const bars = barsOf(sketch, Math.min(MOST_BARS, Math.max(FEWEST_BARS, Math.floor(width / BAR_PX))));
    const scale = scaleOf(bars);
    const top = roundAbove(Math.max(0, ...bars.map((bar) => bar.count)));
    const percentiles = PERCENTILES.map(([name], index) => {
      const value = quantiles[index] ?? null;
      return { key: name, name, text: this.#format(value), at: value === null ? null : scale.fractionOf(value) };
    });
    this.figures.show(percentiles);
    const marks = bars.length > 0 ? percentiles : [];
    this.markList.show(marks);
    this.tagList.show(tagsOf(marks, width));
    this.barList.show(bars.map((bar) => ({ ...bar, share: bar.count / top })));
    const counts = bars.length > 0 ? [0, top / 2, top] : [0];
    const labels = valueLabels(counts, "count");
    this.gridLines.show(counts.map((each, index) => ({ key: `${index}`, at: each / top, text: labels[index] })));
    const placed = (value) => ({ key: `${value}`, at: scale.fractionOf(value), text: logTickLabel(value, this.unit) });
    this.tickList.show(scale.ticks(width).map(placed));
    this.rows.show(bars.filter((bar) => bar.count > 0));
    const leftOut = this.#source.store.leftOutCount(this.panel.metric_type, this.field.path);
    const values = count > 0 ? `${formatNumber(count, "count")} values` : "No values";
    const atZero = zeros > 0 ? `, ${formatNumber(zeros, "count")} of them zero` : "";
    const without = leftOut > 0 ? `; without ${formatNumber(leftOut, "count")} of the sources` : "";
    setText(this.caption, `${values} in ${formatDuration(spanMs)}${atZero}${without}`);
    const texts = percentiles.map(({ name, text }) => `${name} ${text}`).join(", ");
    setAttribute(this.picture, "aria-label", `Histogram of ${this.#name()}: ${this.caption.textContent}; ${texts}`);
  }

  #format(value) {
    return value === null ? NO_VALUE : formatNumber(value, this.unit, this.panel.decimals);
  }

  #updateBar(part, bar) {
    const level = levelOf(Math.sqrt(bar.low * bar.high), this.panel);
    setAttribute(part.node, "data-level", level);
    setAttribute(part.node, "data-empty", bar.count === 0);
    setStyle(part.node, "height", `${(bar.share * 100).toFixed(2)}%`);
    const range = `${this.#format(bar.low)} to ${this.#format(bar.high)}`;
    setAttribute(part.node, "title", `${range}: ${formatNumber(bar.count, "count")} values`);
  }

  #updateRow(part, bar) {
    setText(part.low, this.#format(bar.low));
    setText(part.high, this.#format(bar.high));
    setText(part.count, formatNumber(bar.count, "count"));
  }
}

/**
 * Return the bars of a sketch: its bins, some of them together, so that there are at most so many bars.
 *
 * A bar covers a power of two of bins, so that it keeps its bounds until the range of values has doubled on the axis.
 *
 * @param {Sketch} sketch
 * @param {number} most
 * @returns {{key: string, low: number, high: number, count: number}[]} also empty ones between others; values of zero
 *   have none
 */
export function barsOf(sketch, most) {
  if (sketch.bins.size === 0) return [];
  // Bin n ends at e^(WIDTH·n): counted from its lower bound, bars of several bins begin at multiples of their width.
  const bins = [...sketch.bins].map(([bin, count]) => [bin - 1, count]);
  const lowest = bins.reduce((least, [bin]) => Math.min(least, bin), Infinity);
  const highest = bins.reduce((most, [bin]) => Math.max(most, bin), -Infinity);
  let size = 1;
  while (Math.floor(highest / size) - Math.floor(lowest / size) >= most) size *= 2;
  let first = Math.floor(lowest / size);
  let last = Math.floor(highest / size);
  // One value alone is a narrow bar, not one as wide as the chart.
  while (last - first + 1 < FEWEST_BARS) {
    first -= 1;
    last += 1;
  }
  const counts = new Map();
  for (const [bin, count] of bins) {
    const bar = Math.floor(bin / size);
    counts.set(bar, (counts.get(bar) ?? 0) + count);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const bar = first + index;
    const [low, high] = [bar, bar + 1].map((edge) => Math.exp(WIDTH * edge * size));
    return { key: `${size} ${bar}`, low, high, count: counts.get(bar) ?? 0 };
  });
}

/** Return where values are on the axis of these bars, and the values with a label on it. */
function scaleOf(bars) {
  if (bars.length === 0) return { fractionOf: () => 0, ticks: () => [] };
  const [low, high] = [Math.log(bars[0].low), Math.log(bars.at(-1).high)];
  const fractionOf = (value) => Math.min(1, Math.max(0, (Math.log(value) - low) / (high - low)));
  const ticks = (width) =>
    // The edges would cut off half of a label.
    logTicks(bars[0].low, bars.at(-1).high, width, TICK_PX).filter((value) => {
      const leftPx = fractionOf(value) * width;
      return leftPx >= TICK_PX / 3 && leftPx <= width - TICK_PX / 3;
    });
  return { fractionOf, ticks };
}

/**
 * Return the tags of percentiles; those that would overlap are joined.
 *
 * @param {{name: string, at: number}[]} marks in the order of the axis; `at` is a part of its width
 * @param {number} width in pixels
 * @returns {{key: string, text: string, at: number, isLate: boolean}[]} `isLate`: the tag ends at its line
 */
export function tagsOf(marks, width) {
  const tags = [];
  for (const { name, at } of marks) {
    let tag = placeTag(name, name, at, width);
    while (tags.length > 0 && tag.leftPx < tags.at(-1).rightPx) {
      const before = tags.pop();
      tag = placeTag(before.first, name, before.at, width);
    }
    tags.push(tag);
  }
  return tags.map(({ first, last, at, isLate }) => ({
    key: first,
    text: first === last ? first : `${first}–${last}`,
    at,
    isLate,
  }));
}

/** A tag begins at its line, or ends there if it would reach past the chart. */
function placeTag(first, last, at, width) {
  const sizePx = (first === last ? 1 : 2) * TAG_PX;
  const linePx = at * width;
  const isLate = linePx + sizePx > width;
  const leftPx = isLate ? linePx - sizePx : linePx;
  return { first, last, at, isLate, leftPx, rightPx: leftPx + sizePx };
}

/** @param {number} count @returns {number} 1, 2 or 4 times a power of ten, and even, so that half of it is whole */
function roundAbove(count) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, count)));
  return Math.max(2, [1, 2, 4, 10].find((step) => step * power >= count) * power);
}

function createFigure() {
  const name = element("dt");
  const value = element("dd", { class: "numeric" });
  return { node: element("div", { class: "histogram__figure" }, name, value), name, value };
}

function createMark({ name }) {
  return { node: element("span", { "data-percentile": name }) };
}

function placeMark(part, { at }) {
  setStyle(part.node, "left", `${(at * 100).toFixed(2)}%`);
}

function placeText(part, { at, text, isLate = false }) {
  setText(part.node, text);
  setStyle(part.node, "left", `${(at * 100).toFixed(2)}%`);
  setAttribute(part.node, "data-late", isLate);
}

function placeGridLine(part, { at, text }) {
  setText(part.node, text);
  setStyle(part.node, "bottom", `${(at * 100).toFixed(2)}%`);
}

function createRow() {
  const [low, high, count] = [element("td"), element("td"), element("td")];
  return { node: element("tr", {}, low, high, count), low, high, count };
}
