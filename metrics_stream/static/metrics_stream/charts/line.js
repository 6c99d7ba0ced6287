// A line chart over time: several fields, sources and agents, thresholds, gaps, and a legend that does not jump.
// Room: charts. Draws with uPlot from the columns of the store.

import uPlot from "../vendor/uPlot.min.js";
import { joinColumns, leftEdgeMs, stackColumns } from "../client/columns.js";
import { formatNumber, NO_VALUE } from "../client/format.js";
import { linesOf } from "../client/readings.js";
import { element, KeyedList, setAttribute, setStyle, setText } from "./dom.js";
import { fade, resolveColours, SERIES_COLOURS, seriesVariable } from "./palette.js";

/** More lines than this cannot be told apart; the legend says how many are left out. */
const MOST_LINES = 16;

/** Lines from the ninth on share colours with the first ones and are dashed. */
const DASH = [5, 4];

const RIGHT_PADDING_PX = 10;
const HALF_LABEL_PX = 28;

const CURSOR_GROUP = "metrics-stream";

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export class LineChart {
  #plot = null;
  #lines = [];
  #columns = [[]];
  #slots = new Map();
  #hidden = new Set();
  #shownAtMs = 0;
  #nowMs = 0;
  #firstMs = null;
  #observer = null;

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.windowMs = (panel.options.window_seconds ?? 300) * 1000;
    this.unit = panel.unit || panel.fields[0]?.unit || "";
    this.canvas = element("div", { class: "line__plot", role: "img" });
    this.time = element("div", { class: "line__time numeric", "aria-hidden": "true", hidden: true });
    this.legend = element("ul", { class: "line__legend" });
    this.more = element("p", { class: "line__more", hidden: true });
    this.canvas.append(this.time);
    host.append(this.canvas, this.legend, this.more);
    this.legendList = new KeyedList(this.legend, (line) => this.#createItem(line), (...all) => this.#updateItem(...all));
    this.#observer = new ResizeObserver(() => this.#resize());
    this.#observer.observe(this.canvas);
  }

  /** @param {{store: Store, source: string | null, nowMs: number}} frame @returns {boolean} whether there is anything */
  paint({ store, source, nowMs }) {
    this.#nowMs = nowMs;
    this.#firstMs = store.firstMs;
    const all = linesOf(store, this.panel, source).filter((line) => line.series.length > 0);
    const lines = all.slice(0, MOST_LINES);
    const changed = lines.map(keyAndLabel).join() !== this.#lines.map(keyAndLabel).join();
    this.#lines = lines;
    setAttribute(this.more, "hidden", all.length === lines.length);
    if (all.length > lines.length) setText(this.more, `+${all.length - lines.length} more lines are not drawn`);
    this.#columns = joinColumns(lines.map((line) => line.series), nowMs - this.windowMs);
    if (changed) {
      this.#chooseColours();
      this.#build();
    } else {
      this.#plot?.setData(this.#drawn(), false);
      this.#scroll(nowMs);
    }
    this.#showLegend();
    setAttribute(this.canvas, "aria-label", `Line chart: ${lines.map((line) => line.label).join(", ")}`);
    return lines.length > 0;
  }

  /** Move the time axis; draws only when it moves by half a pixel or more. @param {number} nowMs */
  tick(nowMs) {
    if (this.#plot === null) return;
    const pixelMs = (nowMs - this.#leftMs(nowMs)) / Math.max(1, this.#plot.bbox.width);
    if (Math.abs(nowMs - this.#shownAtMs) >= pixelMs / 2) this.#scroll(nowMs);
  }

  /** Take the colours of the theme in force. */
  restyle() {
    if (this.#plot !== null) this.#build();
  }

  stop() {
    this.#observer.disconnect();
    this.#destroy();
  }

  #destroy() {
    this.#plot?.destroy();
    this.#plot = null;
  }

  #drawn() {
    return this.panel.options.stacked ? stackColumns(this.#columns) : this.#columns;
  }

  #leftMs(nowMs) {
    return leftEdgeMs(nowMs, this.windowMs, this.#firstMs);
  }

  #scroll(nowMs) {
    this.#shownAtMs = nowMs;
    this.#plot?.setScale("x", { min: this.#leftMs(nowMs) / 1000, max: nowMs / 1000 });
  }

  /** A line keeps its colour for as long as it is there; a colour that became free goes to the next line. */
  #chooseColours() {
    const keys = new Set(this.#lines.map((line) => line.key));
    for (const key of this.#slots.keys()) if (!keys.has(key)) this.#slots.delete(key);
    const taken = new Set(this.#slots.values());
    for (const key of keys) {
      if (this.#slots.has(key)) continue;
      let slot = 0;
      while (taken.has(slot)) slot += 1;
      taken.add(slot);
      this.#slots.set(key, slot);
    }
  }

  #build() {
    this.#destroy();
    if (this.#lines.length === 0) return;
    const [grid, axis, warn, bad] = resolveColours(this.canvas, "--chart-grid", "--chart-axis", "--warn", "--bad");
    const colours = resolveColours(this.canvas, ...this.#lines.map((line) => seriesVariable(this.#slots.get(line.key))));
    const stacked = this.panel.options.stacked ?? false;
    const font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    const axisBase = { stroke: axis, font, ticks: { show: false }, grid: { stroke: grid, width: 1 } };
    this.#plot = new uPlot(
      {
        ...this.#size(),
        padding: [8, RIGHT_PADDING_PX, 0, 0],
        legend: { show: false },
        scales: { x: { time: true, auto: false }, y: { range: (_, low, high) => this.#bounds(low, high) } },
        axes: [
          { ...axisBase, size: 26, gap: 6, space: 72, grid: { show: false }, values: timeLabels },
          {
            ...axisBase,
            size: (_, values) => axisWidth(values),
            gap: 8,
            space: 34,
            values: (_, splits) => this.#axisLabels(splits),
          },
        ],
        cursor: {
          sync: { key: CURSOR_GROUP, scales: ["x", null] },
          drag: { x: false, y: false, setScale: false },
          y: false,
          points: { size: 7 },
          dataIdx: nearestDefined,
        },
        series: [{}, ...this.#lines.map((line, index) => this.#seriesOptions(line, colours[index], stacked))],
        bands: stacked ? this.#lines.slice(1).map((_, index) => ({ series: [index + 2, index + 1] })) : [],
        hooks: {
          drawAxes: [(plot) => this.#drawThresholds(plot, warn, bad)],
          setCursor: [(plot) => this.#showCursor(plot)],
        },
      },
      this.#drawn(),
      this.canvas,
    );
    this.#scroll(this.#nowMs);
  }

  #seriesOptions(line, colour, stacked) {
    const alone = this.#lines.length === 1;
    return {
      show: !this.#hidden.has(line.key),
      stroke: colour,
      width: 1.75,
      dash: this.#slots.get(line.key) >= SERIES_COLOURS ? DASH : undefined,
      fill: stacked ? fade(colour, 0.32) : alone ? fade(colour, 0.1) : undefined,
      points: { show: true, size: 5, fill: colour, filter: isolatedPoints },
    };
  }

  #bounds(low, high) {
    const { minimum, maximum } = this.panel.options;
    // Percentages and durations read wrongly on an axis that starts anywhere; an empty chart still needs an axis.
    const floor = minimum ?? (low === null || low >= 0 ? 0 : null);
    const least = floor ?? uPlot.rangeNum(low, Math.max(high, 0), 0.1, true)[0];
    // Nothing but zeros says nothing about the scale: one per cent, or one of whatever it is.
    const flat = this.unit === "ratio" ? 0.01 : 1;
    const most = maximum ?? (high > least ? uPlot.rangeNum(least, high, 0.12, true)[1] : least + flat);
    return [least, most > least ? most : least + flat];
  }

  #axisLabels(splits) {
    const shares = this.unit === "ratio";
    if (shares || this.unit === "percent") {
      const decimals = decimalsOf(splits, shares ? 0.01 : 1);
      return splits.map((value) => formatNumber(value, this.unit, decimals));
    }
    return splits.map((value) => shortLabel(value, this.unit, splits));
  }

  #drawThresholds(plot, warn, bad) {
    const { ctx, bbox } = plot;
    for (const [value, colour] of [
      [this.panel.warning_at, warn],
      [this.panel.critical_at, bad],
    ]) {
      if (value === null || value < plot.scales.y.min || value > plot.scales.y.max) continue;
      const y = Math.round(plot.valToPos(value, "y", true)) + 0.5;
      ctx.save();
      ctx.strokeStyle = fade(colour, 0.55);
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.restore();
    }
  }

  #showCursor(plot) {
    const { left, idx } = plot.cursor;
    const away = left === undefined || left < 0 || idx === null || idx === undefined;
    setAttribute(this.time, "hidden", away);
    if (!away) {
      setText(this.time, clockFormat.format(plot.posToVal(left, "x") * 1000));
      const overLeft = plot.over.offsetLeft + left;
      const half = 30;
      const x = Math.min(Math.max(overLeft, half), this.canvas.clientWidth - half);
      setStyle(this.time, "transform", `translateX(${Math.round(x)}px) translateX(-50%)`);
    }
    this.#showLegend();
  }

  #showLegend() {
    const cursor = this.#plot?.cursor;
    const hovering = cursor !== undefined && cursor.left >= 0 && cursor.idxs?.[0] !== null;
    this.legendList.show(
      this.#lines.map((line, index) => {
        const row = hovering ? cursor.idxs?.[index + 1] : null;
        const value = hovering ? (row === null || row === undefined ? null : this.#columns[index + 1][row]) : line.series.lastValue;
        const text = formatNumber(value, this.panel.unit || line.field.unit, this.panel.decimals);
        return { ...line, text: Number.isNaN(value) ? NO_VALUE : text };
      }),
    );
  }

  #createItem(line) {
    const swatch = element("span", { class: "line__swatch" });
    const label = element("span", { class: "line__label" });
    const value = element("span", { class: "line__value numeric" });
    const button = element("button", { class: "line__item", type: "button", title: "Show or hide this line" }, swatch, label, value);
    button.addEventListener("click", () => this.#toggle(line.key));
    return { node: element("li", {}, button), button, swatch, label, value, widest: 0 };
  }

  #updateItem(part, line) {
    const slot = this.#slots.get(line.key);
    setStyle(part.swatch, "--swatch", `var(${seriesVariable(slot)})`);
    setAttribute(part.swatch, "data-dashed", slot >= SERIES_COLOURS);
    setAttribute(part.button, "aria-pressed", this.#hidden.has(line.key) ? "false" : "true");
    setText(part.label, line.label);
    setText(part.value, line.text);
    if (line.text.length > part.widest) {
      part.widest = line.text.length;
      setStyle(part.value, "min-width", `${part.widest}ch`);
    }
  }

  #toggle(key) {
    if (this.#hidden.has(key)) this.#hidden.delete(key);
    else this.#hidden.add(key);
    const index = this.#lines.findIndex((line) => line.key === key);
    this.#plot?.setSeries(index + 1, { show: !this.#hidden.has(key) });
    this.#showLegend();
  }

  #size() {
    return { width: Math.max(40, this.canvas.clientWidth), height: Math.max(40, this.canvas.clientHeight) };
  }

  #resize() {
    const { width, height } = this.#size();
    if (this.#plot && (this.#plot.width !== width || this.#plot.height !== height)) this.#plot.setSize({ width, height });
  }
}

const keyAndLabel = (line) => `${line.key}\u0001${line.label}`;

function timeLabels(plot, splits) {
  const minutes = splits.every((seconds) => seconds % 60 === 0);
  return splits.map((seconds) => {
    // A label that would be cut off at the right edge is left out.
    if (plot.bbox.width / devicePixelRatio - plot.valToPos(seconds, "x") < HALF_LABEL_PX - RIGHT_PADDING_PX) return "";
    const text = clockFormat.format(seconds * 1000);
    return minutes ? text.slice(0, 5) : text;
  });
}

/** Labels of one axis share their decimals, which the step decides. */
function shortLabel(value, unit, splits) {
  const largest = Math.max(...splits.map(Math.abs));
  const [factor, letter] = largest >= 1e9 ? [1e9, "B"] : largest >= 1e6 ? [1e6, "M"] : largest >= 1e4 ? [1e3, "k"] : [1, ""];
  const ending = unit === "ms" ? "\u00a0ms" : unit === "months" ? "\u00a0mo" : "";
  if (value === 0) return `${unit === "$" ? "$" : ""}0${ending}`;
  const text = formatNumber(value / factor, unit === "$" ? "$" : "", decimalsOf(splits, factor));
  return `${text}${letter}${ending}`;
}

/** Decimals that the steps of an axis need, so that 0.075 is not written as 0.08. */
function decimalsOf(splits, factor) {
  const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) / factor : 1;
  for (let decimals = 0; decimals < 6; decimals += 1) {
    const scaled = step * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * Math.max(1, scaled)) return decimals;
  }
  return 6;
}

function axisWidth(values) {
  const longest = (values ?? []).reduce((most, text) => Math.max(most, text.length), 0);
  // In steps of two characters, so that the plot does not shift by a pixel or two with each new label.
  return 20 + Math.max(4, Math.ceil(longest / 2) * 2) * 6.2;
}

/** Points without a neighbour, which a line alone would not show. */
function isolatedPoints(plot, seriesIndex) {
  const column = plot.data[seriesIndex];
  const isolated = [];
  let before = null;
  let candidate = null;
  for (let row = 0; row < column.length; row += 1) {
    const value = column[row];
    if (value === undefined) continue;
    if (value === null) {
      if (candidate !== null) isolated.push(candidate);
      candidate = before = null;
    } else {
      candidate = before === null ? row : null;
      before = row;
    }
  }
  if (candidate !== null) isolated.push(candidate);
  return isolated;
}

/** The row of a series nearest to the cursor that has a value; null inside a gap. */
function nearestDefined(plot, seriesIndex, hovered) {
  if (seriesIndex === 0) return hovered;
  const column = plot.data[seriesIndex];
  if (column[hovered] !== undefined) return column[hovered] === null ? null : hovered;
  let left = hovered;
  let right = hovered;
  while (left >= 0 && column[left] === undefined) left -= 1;
  while (right < column.length && column[right] === undefined) right += 1;
  if (column[left] === null || column[right] === null || left < 0 || right >= column.length) {
    return column[left] === null || left < 0 ? null : left;
  }
  const times = plot.data[0];
  return times[hovered] - times[left] <= times[right] - times[hovered] ? left : right;
}
