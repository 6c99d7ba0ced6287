// A heat map of a sketch over time: how many values are how large, in each stretch of time.

import { leftEdgeMs } from "../client/columns.js";
import { formatDuration, formatNumber } from "../client/format.js";
import { sketchesOf } from "../client/readings.js";
import { gridOfSketches } from "../client/sketch_grid.js";
import { formatClock } from "./axis.js";
import { element, setAttribute, setStyle, setText } from "./dom.js";
import { DrawPace } from "./draw_pace.js";
import { logTickLabel, logTicks } from "./log_axis.js";
import { PlotHost } from "./plot_host.js";
import { plotSize, plotStyle, TICK_PX, TIME_CURSOR } from "./plot_style.js";
import { colourAt, rampOf } from "./ramp.js";
import { axisWidth } from "./value_axis.js";
import { watchZoom } from "./zoom.js";

/** Merging the sketches of an hour takes some milliseconds. */
const NEW_VALUES_MS = 500;
const MOVE_MS = 1000;

/** The least size of a cell. */
const CELL_PX = 5;

/** A single value must be visible beside cells of thousands. */
const LEAST_SHARE = 0.12;

/** While nothing is known of the values, the axis still has bounds. */
const NO_RANGE = [1, 1000];

export class HeatmapChart {
  /** @type {{store: Store, source: Sources} | null} */
  #source = null;
  /** @type {SketchGrid | null} */
  #grid = null;
  #ramp = [];
  #pace = new DrawPace(NEW_VALUES_MS, MOVE_MS);

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    const [field] = panel.fields;
    Object.assign(this, { panel, field, unit: panel.unit || field.unit });
    this.windowMs = 1000 * (panel.options.window_seconds ?? 300);
    this.host = new PlotHost("heatmap__plot");
    this.scale = element("span", { class: "plot-scale__colours", "aria-hidden": "true" });
    this.most = element("span");
    this.words = element("span", { class: "plot-scale__words" });
    const one = element("span", {}, "1");
    host.append(this.host.node, element("p", { class: "plot-scale numeric" }, one, this.scale, this.most, this.words));
  }

  /** @param {{store: Store, source: Sources}} frame @returns {boolean} */
  paint({ store, source }) {
    this.#source = { store, source };
    this.#pace.noteNews();
    return this.#sketches().length > 0;
  }

  /** @param {Moment} moment @returns {boolean} whether it drew */
  draw({ nowMs, windowMs, zoom }) {
    if (this.#source === null || this.#sketches().length === 0) return false;
    const fromMs = leftEdgeMs(nowMs, windowMs ?? this.windowMs, this.#source.store.firstMs);
    const range = zoom ?? { fromMs, toMs: nowMs };
    if (!this.#pace.isDue(range)) return false;
    this.#pace.begin(range);
    this.#update();
    return true;
  }

  /** Use the colours of the current theme. */
  restyle() {
    this.host.clear();
    if (this.#grid !== null) this.#update();
  }

  stop() {
    this.host.stop();
  }

  #sketches() {
    return sketchesOf(this.#source.store, this.panel, this.#source.source);
  }

  #update() {
    const { range } = this.#pace;
    const list = this.#sketches();
    this.unit = this.panel.unit || list.find(({ unit }) => unit)?.unit || this.field.unit;
    const { width, height } = plotSize(this.host.node);
    const most = { columns: Math.floor(width / CELL_PX), rows: Math.floor(height / CELL_PX) };
    this.#grid = gridOfSketches(list, range, most);
    const plot = this.host.plot ?? this.#createPlot();
    const { cellMs, firstColumn, columnCount } = this.#grid;
    const times = Array.from({ length: columnCount }, (_, column) => ((firstColumn + column + 0.5) * cellMs) / 1000);
    plot.setData([times, times.map(() => null)], false);
    plot.batch(() => {
      const [low, high] = this.#valueRange();
      plot.setScale("x", { min: range.fromMs / 1000, max: range.toMs / 1000 });
      plot.setScale("y", { min: Math.log10(low), max: Math.log10(high) });
    });
    this.#showLegend();
  }

  #valueRange() {
    return this.#grid.rowCount > 0 ? [this.#grid.low, this.#grid.high] : NO_RANGE;
  }

  #createPlot() {
    const { options, axis, timeAxis } = plotStyle(this.host.node);
    this.#ramp = rampOf(this.host.node);
    setStyle(this.scale, "background", `linear-gradient(to right, ${this.#ramp.join(", ")})`);
    const valueAxis = {
      size: (_, values) => axisWidth(values),
      gap: 8,
      splits: (plot) => this.#ticks(plot),
      values: (_, splits) => splits.map((power) => logTickLabel(Number((10 ** power).toPrecision(1)), this.unit)),
    };
    const plot = this.host.create({
      ...options,
      scales: { x: { time: true, auto: false }, y: { auto: false } },
      axes: [timeAxis, { ...axis, ...valueAxis }],
      cursor: { ...TIME_CURSOR, points: { show: false } },
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        drawAxes: [(made) => this.#drawCells(made)],
        setCursor: [(made) => this.#showNote(made)],
      },
    });
    watchZoom(plot, this.host.node);
    return plot;
  }

  /** Return the places of the ticks: the axis counts in powers of ten. */
  #ticks(plot) {
    const [low, high] = this.#valueRange();
    return logTicks(low, high, plot.bbox.height / devicePixelRatio, TICK_PX).map(Math.log10);
  }

  #drawCells(plot) {
    const { cellMs, firstColumn, columnCount, rowCount, counts, most } = this.#grid;
    if (most === 0) return;
    const { ctx, bbox } = plot;
    const edges = Array.from({ length: columnCount + 1 }, (_, column) =>
      Math.round(plot.valToPos(((firstColumn + column) * cellMs) / 1000, "x", true)),
    );
    const rowEdge = (row) => Math.round(bbox.top + bbox.height * (1 - row / rowCount));
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (let column = 0; column < columnCount; column += 1) {
      for (let row = 0; row < rowCount; row += 1) {
        const count = counts[column * rowCount + row];
        if (count === 0) continue;
        ctx.fillStyle = colourAt(this.#ramp, shareOf(count, most));
        const top = rowEdge(row + 1);
        ctx.fillRect(edges[column], top, edges[column + 1] - edges[column], rowEdge(row) - top);
      }
    }
    ctx.restore();
  }

  #showLegend() {
    const { most, total, zeros, cellMs } = this.#grid;
    setText(this.most, formatNumber(most, "count"));
    const leftOut = this.#source.store.leftOutCount(this.panel.metric_type, this.field.path);
    const without = leftOut > 0 ? `; without ${formatNumber(leftOut, "count")} of the sources` : "";
    const atZero = zeros > 0 ? `, ${formatNumber(zeros, "count")} of them zero` : "";
    setText(this.words, `values in ${formatDuration(cellMs)} · ${formatNumber(total, "count")} in all${atZero}${without}`);
    const [low, high] = this.#valueRange().map((value) => formatNumber(value, this.unit));
    const name = `Heat map of ${this.field.label}: ${formatNumber(total, "count")} values from ${low} to ${high}`;
    setAttribute(this.host.node, "aria-label", name);
  }

  #showNote(plot) {
    const { left, top } = plot.cursor;
    const { cellMs, firstColumn, columnCount, rowCount, low, high, counts } = this.#grid;
    const isOver = left !== undefined && left >= 0 && top >= 0 && plot.over.matches(":hover");
    const column = isOver ? Math.floor((plot.posToVal(left, "x") * 1000) / cellMs) - firstColumn : -1;
    const row = isOver ? Math.floor(rowCount * (1 - top / plot.over.clientHeight)) : -1;
    if (column < 0 || column >= columnCount || row < 0 || row >= rowCount) {
      this.host.showNote(null);
      return;
    }
    const bound = (each) => formatNumber(low * (high / low) ** (each / rowCount), this.unit);
    const inColumn = counts.subarray(column * rowCount, (column + 1) * rowCount);
    const all = inColumn.reduce((sum, count) => sum + count, 0);
    this.host.showNote([
      `${formatClock(((firstColumn + column) * cellMs) / 1000)}, ${formatDuration(cellMs)}`,
      `${bound(row)} to ${bound(row + 1)}`,
      `${formatNumber(inColumn[row], "count")} of ${formatNumber(all, "count")} values`,
    ]);
  }
}

/** Few values are as interesting as many: they are the slow ones. */
function shareOf(count, most) {
  return LEAST_SHARE + (1 - LEAST_SHARE) * Math.sqrt(count / most);
}
