// A line chart over time: several fields, sources and agents, thresholds, gaps, and a legend of constant size. Axes,
// scales and the cursor are those of uPlot; the lines are drawn from the geometry of the store's series.

import uPlot from "../vendor/uPlot.min.js";
import { addedSeries } from "../client/added_sources.js";
import { outsideWords } from "../client/bounds.js";
import { leftEdgeMs } from "../client/columns.js";
import { formatNumber } from "../client/format.js";
import { LineChoice } from "../client/line_choice.js";
import { boundsOf, lineGeometry, stack } from "../client/line_geometry.js";
import { linesOf, seriesOf } from "../client/readings.js";
import { TopRows } from "../client/top_rows.js";
import { formatClock } from "./axis.js";
import { element, setAttribute, setStyle, setText } from "./dom.js";
import { Legend } from "./legend.js";
import { fade, resolveColours, SERIES_COLOURS, seriesVariable } from "./palette.js";
import { fitPlot, plotSize, plotStyle, TICK_PX, TIME_CURSOR } from "./plot_style.js";
import { isolatedPoints, nearestDefined } from "./rows.js";
import { drawLine, fillArea, fillRanges } from "./strokes.js";
import { axisWidth, MOST, powerOf, ticksBetween, valueLabels } from "./value_axis.js";
import { watchZoom } from "./zoom.js";

/** New points are drawn within this time, even where they move the chart by less than half a pixel. */
const NEW_POINTS_MS = 333;

const LINE_PX = 1.75;

/** A range that is not higher than this is part of the line. */
const RANGE_PX = 2.5;
const RANGE_ALPHA = 0.22;

export class LineChart {
  #plot = null;
  #lines = [];
  /** @type {LineGeometry} as drawn: stacked if the panel is */
  #geometry = { times: [], firstColumn: 0, traces: [] };
  /** @type {Column[]} the values of each line at the rows, never stacked */
  #values = [];
  /** @type {number} the values that uPlot gets are divided by it: its axes end at 1e-16 and 1e16 */
  #divisor = 1;
  #colours = [];
  #colourSlots = new Map();
  #hidden = new Set();
  /** @type {{store: Store, source: string | null} | null} the data to draw */
  #source = null;
  #hasNewPoints = false;
  /** @type {Moment | null} of the last drawing */
  #drawnMoment = null;
  #drawnAtMs = -Infinity;
  /** @type {{fromMs: number, toMs: number}} the edges of the last drawing */
  #drawnRange = { fromMs: 0, toMs: 0 };
  #observer = null;

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.windowMs = (panel.options.window_seconds ?? 300) * 1000;
    this.unit = panel.unit || panel.fields[0]?.unit || "";
    this.choice = panel.options.top === undefined ? new LineChoice(panel) : new TopRows(panel);
    this.canvas = element("div", { class: "plot line__plot", role: "img" });
    this.time = element("div", { class: "line__time numeric", "aria-hidden": "true", hidden: true });
    this.more = element("p", { class: "line__more", hidden: true });
    this.canvas.append(this.time);
    host.append(this.canvas);
    this.legend = new Legend(host, (key) => this.#toggleLine(key));
    host.append(this.more);
    this.#observer = new ResizeObserver(() => fitPlot(this.#plot, this.canvas));
    this.#observer.observe(this.canvas);
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} whether there is anything to draw */
  paint({ store, source }) {
    this.#source = { store, source };
    this.#hasNewPoints = true;
    const series = this.panel.fields.flatMap(({ path }) => store.series(this.panel.metric_type, path, source));
    return series.some(({ length }) => length > 0);
  }

  /**
   * Draw the newest points and move the time axis, once that is visible.
   *
   * @param {Moment} moment
   * @returns {boolean} whether it drew
   */
  draw(moment) {
    if (this.#source === null) return false;
    const { fromMs, toMs } = this.#timeRange(moment);
    const pixelMs = (toMs - fromMs) / Math.max(1, this.#plot?.bbox.width ?? 1);
    const movedMs = Math.max(Math.abs(fromMs - this.#drawnRange.fromMs), Math.abs(toMs - this.#drawnRange.toMs));
    // By the local clock: that of a replay may stand still.
    const isLate = this.#hasNewPoints && performance.now() - this.#drawnAtMs >= NEW_POINTS_MS;
    if (movedMs < pixelMs / 2 && !isLate) return false;
    const isWider = Math.abs(toMs - fromMs - (this.#drawnRange.toMs - this.#drawnRange.fromMs)) >= pixelMs / 2;
    if (this.#hasNewPoints || isWider || toMs < this.#drawnRange.toMs) this.#update(moment);
    else this.#moveTimeAxis(moment);
    return true;
  }

  #update(moment) {
    this.#hasNewPoints = false;
    const { lines, more } = this.#chooseLines();
    const changed = lines.map(keyAndLabel).join() !== this.#lines.map(keyAndLabel).join();
    this.#lines = lines;
    this.unit = lines[0]?.unit ?? this.unit;
    setAttribute(this.more, "hidden", more === "");
    setText(this.more, more);
    setAttribute(this.canvas, "aria-label", `Line chart: ${lines.map((line) => line.label).join(", ")}`);
    if (changed) {
      this.#assignColours();
      this.#createPlot(moment);
    } else {
      this.#computeGeometry(moment);
      this.#plot?.setData(this.#plotData(), false);
      this.#moveTimeAxis(moment);
    }
    this.#showLegend();
  }

  /** Return the lines to draw, and words for those that are not drawn. */
  #chooseLines() {
    const { store, source } = this.#source;
    const count = (number) => number.toLocaleString("en");
    if (this.choice instanceof TopRows) {
      const { lines, rowCount, total } = this.choice.choose(store, source);
      const more = total > rowCount ? `${rowCount} of ${count(total)}, the highest ${this.choice.by.label} first` : "";
      return { lines: linesOf(lines, this.panel), more };
    }
    if (this.panel.options.add_sources) {
      return { lines: linesOf(addedSeries(store, this.panel, source), this.panel), more: "" };
    }
    const all = seriesOf(store, this.panel, source);
    const lines = linesOf(this.choice.choose(all), this.panel);
    const leftOut = this.panel.fields.map(({ path }) => store.leftOutCount(this.panel.metric_type, path));
    const total = leftOut.reduce((sum, each) => sum + each, all.length);
    const more = total > lines.length ? `${lines.length} of ${count(total)} lines are drawn, the worst first` : "";
    return { lines, more };
  }

  /** Use the colours of the current theme. */
  restyle() {
    if (this.#plot !== null) this.#createPlot(this.#drawnMoment);
  }

  stop() {
    this.#observer.disconnect();
    this.#destroyPlot();
  }

  #destroyPlot() {
    this.#plot?.destroy();
    this.#plot = null;
  }

  /** Compute the geometry of all points between the edges. */
  #computeGeometry(moment) {
    const width = this.#plot === null ? plotSize(this.canvas).width : this.#plot.bbox.width / devicePixelRatio;
    const series = this.#lines.map((line) => line.series);
    const { fromMs, toMs } = this.#timeRange(moment);
    const geometry = lineGeometry(series, fromMs, toMs, Math.max(1, width));
    this.#values = geometry.traces.map((trace) => trace.values);
    this.#geometry = this.panel.options.stacked ? stack(geometry, (index) => this.#isShown(index)) : geometry;
    this.#divisor = powerOf(...boundsOf(this.#geometry.traces));
  }

  #plotData() {
    const divisor = this.#divisor;
    const columns = this.#geometry.traces.map(({ values }) => values);
    if (divisor === 1) return [this.#geometry.times, ...columns];
    return [this.#geometry.times, ...columns.map((column) => column.map((each) => each && each / divisor))];
  }

  #timeRange({ nowMs, windowMs, zoom }) {
    return zoom ?? { fromMs: leftEdgeMs(nowMs, windowMs ?? this.windowMs, this.#source.store.firstMs), toMs: nowMs };
  }

  #moveTimeAxis(moment) {
    this.#drawnMoment = moment;
    this.#drawnAtMs = performance.now();
    this.#drawnRange = this.#timeRange(moment);
    this.#plot?.setScale("x", { min: this.#drawnRange.fromMs / 1000, max: this.#drawnRange.toMs / 1000 });
  }

  /** A line keeps its colour for as long as it exists; a new line gets the first colour that is free. */
  #assignColours() {
    const keys = new Set(this.#lines.map((line) => line.key));
    for (const key of this.#colourSlots.keys()) if (!keys.has(key)) this.#colourSlots.delete(key);
    const taken = new Set(this.#colourSlots.values());
    for (const key of keys) {
      if (this.#colourSlots.has(key)) continue;
      let slot = 0;
      while (taken.has(slot)) slot += 1;
      taken.add(slot);
      this.#colourSlots.set(key, slot);
    }
  }

  #createPlot(moment) {
    this.#destroyPlot();
    this.#drawnMoment = moment;
    if (this.#lines.length === 0) return;
    this.#computeGeometry(moment);
    // The legend takes height from the plot: shown afterwards, it would cause a second drawing.
    this.#showLegend();
    const [warn, bad] = resolveColours(this.canvas, "--warn", "--bad");
    const variables = this.#lines.map((line) => seriesVariable(this.#colourSlots.get(line.key)));
    this.#colours = resolveColours(this.canvas, ...variables);
    const { options, axis, timeAxis } = plotStyle(this.canvas);
    this.#plot = new uPlot(
      {
        ...options,
        scales: {
          x: { time: true, auto: false },
          y: { range: () => this.#valueRange(...boundsOf(this.#shownTraces())).map((each) => each / this.#divisor) },
        },
        axes: [
          timeAxis,
          {
            ...axis,
            size: (_, values) => axisWidth(values),
            gap: 8,
            splits: (plot, _, low, high) => ticksBetween(low, high, plot.bbox.height / devicePixelRatio / TICK_PX),
            values: (_, splits) => this.#labels(splits),
          },
        ],
        cursor: {
          ...TIME_CURSOR,
          points: { size: 7 },
          // Stacked lines have a value in every row; the legend needs the row of the line's own nearest point.
          dataIdx: (plot, index, hovered) =>
            index === 0 ? hovered : nearestDefined(plot.data[0], this.#values[index - 1], hovered),
        },
        series: [{}, ...this.#lines.map((line, index) => this.#seriesOptions(line, this.#colours[index]))],
        hooks: {
          drawSeries: [(plot, index) => this.#drawSeries(plot, index - 1)],
          drawAxes: [(plot) => this.#drawThresholds(plot, warn, bad)],
          setCursor: [(plot) => this.#showCursor(plot)],
        },
      },
      this.#plotData(),
      this.canvas,
    );
    watchZoom(this.#plot, this.canvas);
    this.#moveTimeAxis(moment);
  }

  #labels(splits) {
    const divisor = this.#divisor;
    // Rounded, as a product has rounding errors.
    const values = divisor === 1 ? splits : splits.map((each) => Number((each * divisor).toPrecision(15)));
    return valueLabels(values, this.unit);
  }

  #shownTraces() {
    return this.#geometry.traces.filter((_, index) => this.#isShown(index));
  }

  #isShown(index) {
    return !this.#hidden.has(this.#lines[index].key);
  }

  #seriesOptions(line, colour) {
    return {
      show: !this.#hidden.has(line.key),
      stroke: colour,
      width: LINE_PX,
      // uPlot's own lines take ten times as long where points are dense; #drawSeries draws them.
      paths: () => null,
      points: { show: true, size: 5, fill: colour, filter: isolatedPoints },
    };
  }

  #valueRange(lowest, highest) {
    const { minimum, maximum } = this.panel.options;
    const [low, high] = [lowest, highest].map((each) => each && Math.min(Math.max(each, -MOST), MOST));
    // The axis starts at zero, or differences look larger than they are; an empty chart still needs an axis.
    const floor = minimum ?? (low === null || low >= 0 ? 0 : null);
    const least = floor ?? uPlot.rangeNum(low, Math.max(high, 0), 0.1, true)[0];
    // Zeros alone give no scale: use one per cent, or 1 of the unit.
    const flat = this.unit === "ratio" ? 0.01 : 1;
    const most = maximum ?? (high > least ? uPlot.rangeNum(least, high, 0.12, true)[1] : least + flat);
    return [least, most > least ? most : least + flat];
  }

  #drawSeries(plot, index) {
    const trace = this.#geometry.traces[index];
    const { ctx, bbox } = plot;
    const { x, y } = plot.scales;
    const [perSecond, perUnit] = [bbox.width / (x.max - x.min), bbox.height / (y.max - y.min)];
    const place = {
      xs: this.#geometry.times.map((seconds) => bbox.left + (seconds - x.min) * perSecond),
      y: (value) => bbox.top + (y.max - value / this.#divisor) * perUnit,
    };
    const width = LINE_PX * devicePixelRatio;
    const colour = this.#colours[index];
    const stacked = this.panel.options.stacked ?? false;
    ctx.save();
    ctx.beginPath();
    // Half a line width more above and below, or a line at the edge would be thinner.
    ctx.rect(bbox.left, bbox.top - width / 2, bbox.width, bbox.height + width);
    ctx.clip();
    if (stacked || this.#lines.length === 1) {
      const floor = Math.min(Math.max(0, y.min), y.max) * this.#divisor;
      const below = stacked
        ? this.#geometry.traces.findLast((_, place) => place < index && this.#isShown(place))
        : null;
      fillArea(ctx, trace, place, { colour: fade(colour, stacked ? 0.32 : 0.1), floor, below });
    }
    fillRanges(ctx, trace, place, { colour: fade(colour, RANGE_ALPHA), least: RANGE_PX * devicePixelRatio });
    const dashed = this.#colourSlots.get(this.#lines[index].key) >= SERIES_COLOURS;
    drawLine(ctx, trace, place, { colour, width, dashed, firstColumn: this.#geometry.firstColumn });
    ctx.restore();
  }

  #drawThresholds(plot, warn, bad) {
    const { ctx, bbox } = plot;
    for (const [threshold, colour] of [
      [this.panel.warning_at, warn],
      [this.panel.critical_at, bad],
    ]) {
      const value = threshold === null ? null : threshold / this.#divisor;
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
    // uPlot reports the cursor with every drawing, also while it is outside.
    if (away && this.time.hidden) return;
    setAttribute(this.time, "hidden", away);
    if (!away) {
      setText(this.time, formatClock(plot.posToVal(left, "x")));
      const overLeft = plot.over.offsetLeft + left;
      const half = Math.max(30, this.time.offsetWidth / 2);
      const x = Math.min(Math.max(overLeft, half), this.canvas.clientWidth - half);
      setStyle(this.time, "transform", `translateX(${Math.round(x)}px) translateX(-50%)`);
    }
    this.#showLegend();
  }

  #showLegend() {
    const cursor = this.#plot?.cursor;
    const hovering = cursor !== undefined && cursor.left >= 0 && cursor.idxs?.[0] !== null;
    const items = this.#lines.map((line, index) => {
      const column = this.#values[index] ?? [];
      const value = hovering ? column[cursor.idxs?.[index + 1]] : column.findLast((each) => each !== undefined);
      const text = formatNumber(value, line.unit, this.panel.decimals);
      return { ...line, text, outside: outsideWords(value, line.field, line.unit) };
    });
    this.legend.show(items, this.#colourSlots, this.#hidden);
  }

  #toggleLine(key) {
    if (this.#hidden.has(key)) this.#hidden.delete(key);
    else this.#hidden.add(key);
    const index = this.#lines.findIndex((line) => line.key === key);
    if (this.panel.options.stacked && this.#plot !== null) {
      this.#computeGeometry(this.#drawnMoment);
      this.#plot.setData(this.#plotData(), false);
    }
    this.#plot?.setSeries(index + 1, { show: !this.#hidden.has(key) });
    this.#showLegend();
  }
}

const keyAndLabel = (line) => `${line.key}\u0001${line.label}`;
