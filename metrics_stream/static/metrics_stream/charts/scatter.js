// One field against another one: a point for each instant, coloured by its age.

import { boundsOf, pointsOf } from "../client/point_pairs.js";
import { formatNumber } from "../client/format.js";
import { formatClock } from "./axis.js";
import { element, setAttribute, setStyle, setText } from "./dom.js";
import { DrawPace } from "./draw_pace.js";
import { PlotHost } from "./plot_host.js";
import { plotStyle, TICK_PX } from "./plot_style.js";
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
  /** @type {{store: Store, source: Sources} | null} */
  #source = null;
  /** @type {PointPair[]} oldest first */
  #points = [];
  #ramp = [];
  #pace = new DrawPace(NEW_POINTS_MS, MOVE_MS);

  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    [this.across, this.up] = panel.fields;
    this.windowMs = (panel.options.window_seconds ?? 300) * 1000;
    this.host = new PlotHost("scatter__plot");
    this.scale = element("span", { class: "plot-scale__colours", "aria-hidden": "true" });
    this.words = element("span", { class: "plot-scale__words" });
    const ages = [element("span", {}, "older"), this.scale, element("span", {}, "now")];
    host.append(
      element("p", { class: "scatter__up" }, this.up.label),
      this.host.node,
      element("p", { class: "scatter__across" }, this.across.label),
      element("p", { class: "plot-scale numeric" }, ...ages, this.words),
    );
  }

  /** @param {{store: Store, source: Sources}} frame @returns {boolean} */
  paint({ store, source }) {
    this.#source = { store, source };
    this.#pace.noteNews();
    const hasValues = ({ path }) => store.series(this.panel.metric_type, path, source).some(({ length }) => length > 0);
    return hasValues(this.across) && hasValues(this.up);
  }

  /** @param {Moment} moment @returns {boolean} whether it drew */
  draw({ nowMs, windowMs, zoom }) {
    const range = zoom ?? { fromMs: nowMs - (windowMs ?? this.windowMs), toMs: nowMs };
    if (this.#source === null || !this.#pace.isDue(range)) return false;
    this.#pace.begin(range);
    this.#update();
    return true;
  }

  /** Use the colours of the current theme. */
  restyle() {
    this.host.clear();
    if (this.#source !== null) this.#update();
  }

  stop() {
    this.host.stop();
  }

  #update() {
    const { store, source } = this.#source;
    this.#points = pointsOf(store, this.panel, source, this.#pace.range);
    const plot = this.host.plot ?? this.#createPlot();
    const sorted = [...this.#points].sort((a, b) => a.x - b.x);
    plot.setData([sorted.map(({ x }) => x), sorted.map(({ y }) => y)], false);
    plot.batch(() => {
      plot.setScale("x", boundsOf(this.#points, "x"));
      plot.setScale("y", boundsOf(this.#points, "y"));
    });
    const count = this.#points.length;
    setText(this.words, `${formatNumber(count, "count")} points`);
    const newest = this.#points.at(-1);
    const now = newest ? `; now ${this.#say(this.across, newest.x)}, ${this.#say(this.up, newest.y)}` : "";
    setAttribute(this.host.node, "aria-label", `${this.up.label} against ${this.across.label}: ${count} points${now}`);
  }

  #say(field, value) {
    return formatNumber(value, this.#unitOf(field), this.panel.decimals);
  }

  #unitOf({ path, unit }) {
    const series = this.#source.store.series(this.panel.metric_type, path, this.#source.source);
    return series.find((each) => each.unit !== null)?.unit ?? unit;
  }

  #createPlot() {
    const { options, axis } = plotStyle(this.host.node);
    this.#ramp = rampOf(this.host.node);
    setStyle(this.scale, "background", `linear-gradient(to right, ${this.#ramp.join(", ")})`);
    const axisOf = (field, side, leastPx) => ({
      ...axis,
      splits: (plot, _, low, high) => ticksBetween(low, high, plot.bbox[side] / devicePixelRatio / leastPx),
      values: (_, splits) => valueLabels(splits, this.#unitOf(field)),
    });
    return this.host.create({
      ...options,
      scales: { x: { time: false, auto: false }, y: { auto: false } },
      axes: [
        { ...axisOf(this.across, "width", WIDE_TICK_PX), size: 26, gap: 6 },
        { ...axisOf(this.up, "height", TICK_PX), size: (_, values) => axisWidth(values), gap: 8 },
      ],
      cursor: { drag: { x: false, y: false, setScale: false }, x: false, y: false, points: { show: false } },
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { draw: [(plot) => this.#drawPoints(plot)], setCursor: [(plot) => this.#showNote(plot)] },
    });
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
    const words = point && [
      `${this.across.label} ${this.#say(this.across, point.x)}`,
      `${this.up.label} ${this.#say(this.up, point.y)}`,
      [formatClock(point.timeMs / 1000), point.name].filter(Boolean).join(" · "),
    ];
    this.host.showNote(words);
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
