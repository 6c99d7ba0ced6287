// The chart of one line: its recent past and what comes. It has a connection of its own, which asks for this line only.

import { setAttribute, setText } from "../../charts/dom.js";
import { LineChart } from "../../charts/line.js";
import { Connection } from "../../client/connection.js";
import { Feed } from "../../client/feed.js";
import { isSame } from "./state.js";
import { labelOfKey } from "./seen.js";

const DRAW_MS = 250;

/** More points than the chart has pixels. */
const MAX_POINTS = 1_000;

/** Without a history the chart begins now. */
const SHORTEST_SECONDS = 300;

export class LineView {
  /** @type {Chosen | null} */
  #chosen = null;
  #connection = null;
  #chart = null;
  #feed = null;
  #timer = null;
  #zoom = null;

  /**
   * @param {HTMLElement} root
   * @param {{url: string, historySeconds: number, catalogue: Catalogue, close: () => void}} options
   */
  constructor(root, { url, historySeconds, catalogue, close }) {
    this.root = root;
    this.url = url;
    this.historySeconds = historySeconds;
    this.catalogue = catalogue;
    this.windowMs = 1000 * Math.max(historySeconds, SHORTEST_SECONDS);
    this.title = root.querySelector("[data-chart-title]");
    this.about = root.querySelector("[data-chart-about]");
    this.waiting = root.querySelector("[data-chart-waiting]");
    this.host = root.querySelector("[data-chart]");
    root.querySelector("[data-chart-close]").addEventListener("click", close);
    root.addEventListener("zoom", (event) => (this.#zoom = event.detail));
    root.addEventListener("zoomend", () => (this.#zoom = null));
  }

  /** @param {Chosen | null} chosen the line to show; null: none */
  show(chosen) {
    if (isSame(chosen, this.#chosen)) return;
    this.stop();
    this.#chosen = chosen;
    setAttribute(this.root, "hidden", chosen === null);
    if (chosen === null) return;
    this.#describe();
    this.#connect(chosen);
    this.#timer = setInterval(() => this.#draw(), DRAW_MS);
    this.#draw();
    // On a phone the line that was chosen may be far below.
    this.root.scrollIntoView({ block: "nearest" });
  }

  /** Use new labels and units. */
  refresh() {
    const chosen = this.#chosen;
    if (chosen === null) return;
    this.#describe();
    this.#makeChart();
  }

  /** Use the colours of the current theme. */
  restyle() {
    this.#chart?.restyle();
  }

  stop() {
    clearInterval(this.#timer);
    this.#connection?.stop();
    this.#chart?.stop();
    this.host.replaceChildren();
    this.#connection = this.#chart = this.#feed = this.#zoom = null;
  }

  #describe() {
    const { metricType, path, source, key } = this.#chosen;
    const field = this.catalogue.field(metricType, path);
    setText(this.title, field?.label ?? path);
    const words = [labelOfKey(key), source, this.catalogue.labelOf(metricType), field === null ? "" : path];
    setText(this.about, words.filter(Boolean).join(" · "));
  }

  #connect({ metricType, source, key, path }) {
    this.#feed = new Feed([{ metricType, path, windowSeconds: this.windowMs / 1000 }]);
    this.#makeChart();
    const connection = new Connection(this.url);
    this.#connection = connection;
    if (this.historySeconds > 0) {
      connection.backfill = { backfill_seconds: this.historySeconds, max_points: MAX_POINTS };
      connection.on("ready", (resumes) => {
        if (!resumes) this.#feed.expect([metricType], { windowMs: this.windowMs, isAfresh: true });
      });
    }
    connection.on("message", (message) => this.#take(message));
    connection.setFilters(filtersOf(source, key, path));
    connection.setUpdateInterval(0.5);
    connection.subscribe([metricType]);
    connection.start();
  }

  #makeChart() {
    const { metricType, path } = this.#chosen;
    const field = this.catalogue.field(metricType, path);
    this.#chart?.stop();
    this.host.replaceChildren();
    const described = { path, label: field?.label ?? path, unit: field?.unit ?? "" };
    this.#chart = new LineChart(
      {
        kind: "line",
        metric_type: metricType,
        fields: [described],
        unit: "",
        decimals: null,
        warning_at: null,
        critical_at: null,
        options: { window_seconds: this.windowMs / 1000 },
      },
      this.host,
    );
  }

  #take(message) {
    const feed = this.#feed;
    const nowMs = this.#connection.clock.now();
    const { source, key } = this.#chosen;
    if (message.type === "backfill") {
      const series = message.series.filter((each) => each.source === source && isKey(keyOfSeries(each), key));
      feed.fill({ ...message, series });
    } else {
      for (const metric of metricsIn(message)) feed.target.add(onlyRow(metric, key), nowMs);
    }
  }

  #draw() {
    if (document.hidden || this.#chart === null) return;
    const { store } = this.#feed;
    const nowMs = this.#connection.clock.now();
    store.trim(nowMs);
    const isFilled = this.#chart.paint({ store, source: null });
    setAttribute(this.waiting, "hidden", isFilled);
    if (isFilled) this.#chart.draw({ nowMs, windowMs: this.windowMs, zoom: this.#zoom });
  }
}

/** @param {object} message @returns {object[]} the metrics that came with it */
export function metricsIn(message) {
  if (message.type === "metric_update") return [message.data];
  return message.type === "metric_batch" && Array.isArray(message.data) ? message.data : [];
}

function filtersOf(source, key, path) {
  const filters = { sources: source ? [source] : [], fields: [path] };
  if (key === null) return filters;
  if (key.agent_id !== undefined) return { ...filters, agent_ids: [key.agent_id] };
  return { ...filters, keys: Object.fromEntries(Object.entries(key).map(([part, value]) => [part, [value]])) };
}

// In filters `*` stands for any text, and a row without an optional part is not told from one with it.

function onlyRow(metric, key) {
  if (key === null || !Array.isArray(metric?.data)) return metric;
  const isRow = (entry) => Object.entries(key).every(([part, value]) => String(entry?.[part]) === value);
  const parts = Array.isArray(metric.key) ? metric.key : Object.keys(key);
  const hasOthers = (entry) => parts.some((part) => entry[part] !== undefined && !(part in key));
  return { ...metric, data: metric.data.filter((entry) => isRow(entry) && !hasOthers(entry)) };
}

function keyOfSeries({ key, agent_id: agentId }) {
  return key ?? (agentId === undefined || agentId === null ? null : { agent_id: agentId });
}

function isKey(one, other) {
  if (one === null || other === null) return one === other;
  const parts = Object.keys({ ...one, ...other });
  return parts.every((part) => one[part] === other[part]);
}
