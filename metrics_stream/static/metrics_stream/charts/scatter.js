// One field against another one: a point for each instant, coloured by its age.

import uPlot from "../vendor/uPlot.min.js";
import { boundsOf, pointsOf } from "../client/point_pairs.js";
import { formatNumber } from "../client/format.js";
import { formatClock } from "./axis.js";
import { element, setAttribute, setStyle, setText } from "./dom.js";
import { fitPlot, plotStyle, TICK_PX } from "./plot_style.js";
import { PlotNote } from "./plot_note.js";
import { colourAt, rampOf } from "./ramp.js";
import { axisWidth, ticksBetween, valueLabels } from "./value_axis.js";

const NEW_POINTS_MS = 500;
const MOVE_MS = 2000;

const POINT_PX = 3;
/** The newest point is larger: it says where the system is now. */
const NEWEST_PX = 5;

/** A point is under the cursor up to this distance. */
const REACH_PX = 24;

const WIDE_TICK_PX = 64;

export class ScatterChart {
  #plot = null;
  /** @type {{store: Store, source: string | null} | null} */
  #source = null;
  /** @type {PointPair[]} oldest first */
  #points = [];
  #ramp = [];
  #hasNewPoints = false;
  #drawnAtMs = -Infinity;
  #range = { fromMs: 0, toMs: 0 };
  #observer;

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    [this.across, this.up] = panel.fields;
    this.windowMs = (panel.options.window_seconds ?? 300) * 1000;
    this.canvas = element("div", { class: "plot", role: "img" });
    this.scale = element("span", { class: "plot-scale__colours", "aria-hidden": "true" });
    this.words = element("span", { class: "plot-scale__words" });
    const ages = [element("span", {}, "older"), this.scale, element("span", {}, "now")];
    host.append(
      element("p", { class: "scatter__up" }, this.up.label),
      this.canvas,
      element("p", { class: "scatter__across" }, this.across.label),
      element("p", { class: "plot-scale numeric" }, ...ages, this.words),
    );
    this.note = new PlotNote(this.canvas);
    this.#observer = new ResizeObserver(() => fitPlot(this.#plot, this.canvas));
    this.#observer.observe(this.canvas);
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint({ store, source }) {
    this.#source = { store, source };
    this.#hasNewPoints = true;
    const hasValues = ({ path }) => store.series(this.panel.metric_type, path, source).some(({ length }) => length > 0);
    return hasValues(this.across) && hasValues(this.up);
  }

  /** @param {Moment} moment @returns {boolean} whether it drew */
  draw({ nowMs, windowMs, zoom }) {
    if (this.#source === null) return false;
    const range = zoom ?? { fromMs: nowMs - (windowMs ?? this.windowMs), toMs: nowMs };
    const isMoved = Math.max(Math.abs(range.fromMs - this.#range.fromMs), Math.abs(range.toMs - this.#range.toMs)) >= MOVE_MS;
    const isLate = this.#hasNewPoints && performance.now() - this.#drawnAtMs >= NEW_POINTS_MS;
    if (!isMoved && !isLate) return false;
    this.#hasNewPoints = false;
    this.#drawnAtMs = performance.now();
    this.#range = range;
    this.#update();
    return true;
  }

  /** Use the colours of the current theme. */
  restyle() {
    this.#plot?.destroy();
    this.#plot = null;
    if (this.#source !== null) this.#update();
  }

  stop() {
    this.#observer.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  #update() {
    const { store, source } = this.#source;
    this.#points = pointsOf(store, this.panel, source, this.#range);
    if (this.#plot === null) this.#createPlot();
    const sorted = [...this.#points].sort((a, b) => a.x - b.x);
    this.#plot.setData([sorted.map(({ x }) => x), sorted.map(({ y }) => y)], false);
    const [x, y] = [boundsOf(this.#points, "x"), boundsOf(this.#points, "y")];
    this.#plot.batch(() => {
      this.#plot.setScale("x", x);
      this.#plot.setScale("y", y);
    });
    const count = this.#points.length;
    setText(this.words, `${formatNumber(count, "count")} points`);
    const newest = this.#points.at(-1);
    const now = newest ? `; now ${this.#say(this.across, newest.x)}, ${this.#say(this.up, newest.y)}` : "";
    setAttribute(this.canvas, "aria-label", `${this.up.label} against ${this.across.label}: ${count} points${now}`);
  }

  #say(field, value) {
    return formatNumber(value, this.#unitOf(field), this.panel.decimals);
  }

  #unitOf({ path, unit }) {
    const series = this.#source.store.series(this.panel.metric_type, path, this.#source.source);
    return series.find((each) => each.unit !== null)?.unit ?? unit;
  }

  #createPlot() {
    const { options, axis } = plotStyle(this.canvas);
    this.#ramp = rampOf(this.canvas);
    setStyle(this.scale, "background", `linear-gradient(to right, ${this.#ramp.join(", ")})`);
    const labels = (field) => (_, splits) => valueLabels(splits, this.#unitOf(field));
    const ticks = (side, least) => (plot, _, low, high) =>
      ticksBetween(low, high, plot.bbox[side] / devicePixelRatio / least);
    this.#plot = new uPlot(
      {
        ...options,
        scales: { x: { time: false, auto: false }, y: { auto: false } },
        axes: [
          { ...axis, size: 26, gap: 6, splits: ticks("width", WIDE_TICK_PX), values: labels(this.across) },
          { ...axis, size: (_, values) => axisWidth(values), gap: 8, splits: ticks("height", TICK_PX), values: labels(this.up) },
        ],
        cursor: { drag: { x: false, y: false, setScale: false }, x: false, y: false, points: { show: false } },
        series: [{}, { paths: () => null, points: { show: false } }],
        hooks: {
          draw: [(plot) => this.#drawPoints(plot)],
          setCursor: [(plot) => this.#showNote(plot)],
        },
      },
      [[], []],
      this.canvas,
    );
    this.canvas.append(this.note.node);
  }

  #drawPoints(plot) {
    const { ctx } = plot;
    const newest = this.#points.at(-1);
    const spanMs = Math.max(1, (newest?.timeMs ?? 0) - (this.#points[0]?.timeMs ?? 0));
    ctx.save();
    for (const point of this.#points) {
      const radius = (point === newest ? NEWEST_PX : POINT_PX) * devicePixelRatio;
      ctx.fillStyle = colourAt(this.#ramp, 1 - (newest.timeMs - point.timeMs) / spanMs);
      ctx.beginPath();
      ctx.arc(plot.valToPos(point.x, "x", true), plot.valToPos(point.y, "y", true), radius, 0, 2 * Math.PI);
      ctx.fill();
    }
    ctx.restore();
  }

  #showNote(plot) {
    const { left, top } = plot.cursor;
    const point = left >= 0 && top >= 0 ? this.#nearest(plot, left, top) : null;
    if (point === null) {
      this.note.show(null);
      return;
    }
    const words = [
      `${this.across.label} ${this.#say(this.across, point.x)}`,
      `${this.up.label} ${this.#say(this.up, point.y)}`,
      [formatClock(point.timeMs / 1000), point.name].filter(Boolean).join(" · "),
    ];
    this.note.show(words, { left: plot.over.offsetLeft + left, top: plot.over.offsetTop + top });
  }

  #nearest(plot, left, top) {
    let [found, least] = [null, REACH_PX];
    for (const point of this.#points) {
      const distance = Math.hypot(plot.valToPos(point.x, "x") - left, plot.valToPos(point.y, "y") - top);
      if (distance <= least) [found, least] = [point, distance];
    }
    return found;
  }
}
