// One panel of a dashboard: its chart, its state as a text, and when it has to be painted.

import { LEVEL_WORDS, levelIcon, setAttribute, setLevelIcon, setText } from "../charts/dom.js";
import { formatDuration } from "../client/format.js";
import { lastReceivedMs } from "../client/readings.js";
import { SourceFilter } from "../client/source_filter.js";
import { describeWindows } from "../client/windows.js";

/** After this time without any data the panel says how to publish. */
const HINT_AFTER_MS = 8_000;

/** How often a panel off the screen is painted; far below the age at which it would count as stale. */
const OFFSCREEN_INTERVAL_MS = 2_000;

/** The metric types of which one says whether the other one has anything to say. */
const REQUESTS = "request";
const ERRORS = "error";

/** A panel with much to show is painted less often: it may take this share of the time. */
const PAINT_SHARE = 0.04;

export class Panel {
  /** @type {{store: Store, source: string | null, version: number, windowMs: number | null} | null} */
  #painted = null;
  #paintedAtMs = -Infinity;
  /** How long the last painting took. */
  #paintMs = 0;
  #isFilled = false;
  #hasUndrawnData = false;

  /**
   * @param {object} config as in the page configuration
   * @param {HTMLElement} section
   * @param {Function} Chart the class of its kind
   */
  constructor(config, section, Chart) {
    this.config = config;
    this.section = section;
    this.visible = false;
    this.state = section.querySelector("[data-panel-state]");
    this.stateWord = section.querySelector("[data-panel-state-word]");
    this.windows = section.querySelector("[data-panel-windows]");
    this.now = section.querySelector("[data-panel-now]");
    this.stale = section.querySelector("[data-panel-stale]");
    this.waiting = section.querySelector("[data-panel-waiting]");
    this.waitingText = section.querySelector("[data-panel-waiting-text]");
    this.hint = section.querySelector("[data-panel-hint]");
    this.sources = new SourceFilter(config.options?.sources_with);
    this.chart = new Chart(config, section.querySelector("[data-panel-body]"));
    if (config.kind !== "text") {
      this.icon = levelIcon();
      this.state.prepend(this.icon);
      setText(this.waitingText, `Waiting for ${config.metric_type} metrics…`);
    }
  }

  /** @param {{store: Store, source: string | null, moment: Moment}} frame */
  paint(frame) {
    const { store, moment } = frame;
    const source = this.sources.choose(store, frame.source);
    const version = store.version(this.config.metric_type);
    // Panels off the screen are painted, too: they are visible on paper and in screenshots of the whole page.
    if (!this.visible && this.#isFilled && performance.now() - this.#paintedAtMs < OFFSCREEN_INTERVAL_MS) return;
    const before = this.#painted;
    const isSame = before?.store === store && before.source === source && before.windowMs === moment.windowMs;
    if (isSame && before.version === version) return;
    const startedAtMs = performance.now();
    if (isSame && startedAtMs - this.#paintedAtMs < this.#restMs) return;
    this.#painted = { store, source, version, windowMs: moment.windowMs };
    this.#paintedAtMs = startedAtMs;
    this.#isFilled = this.chart.paint({ ...frame, source });
    this.#paintMs = performance.now() - startedAtMs;
    setAttribute(this.section, "data-filled", this.#isFilled);
    if (this.waiting) setAttribute(this.waiting, "hidden", this.#isFilled);
    this.#showLevel();
    this.#hasUndrawnData = true;
  }

  /** @returns {number} how long the panel rests between two paintings */
  get #restMs() {
    return Math.max(this.#paintMs / PAINT_SHARE, this.chart.intervalMs ?? 0);
  }

  /**
   * Draw the chart's canvas, if it has one and there is something new to draw.
   *
   * @param {Moment} moment
   * @returns {boolean} whether it drew
   */
  draw(moment) {
    if (!this.visible && !this.#hasUndrawnData) return false;
    const drew = this.chart.draw?.(moment) ?? false;
    if (drew) this.#hasUndrawnData = false;
    return drew;
  }

  /**
   * Show the age of the panel's data when it is stale, and how to publish while the panel is empty.
   *
   * @param {{store: Store, source: string | null}} frame maybe newer than the painted one
   * @param {{nowMs: number, staleMs: number, startedAtMs: number}} moment
   */
  showAge({ store, source: chosen }, { nowMs, staleMs, startedAtMs }) {
    if (this.config.kind === "text") return;
    const source = this.sources.choose(store, chosen);
    const hasType = store.newest(this.config.metric_type) !== null;
    const receivedAtMs = lastReceivedMs(store, this.config, source);
    const silentMs = receivedAtMs === null ? 0 : nowMs - receivedAtMs;
    const isStale = this.#isFilled && silentMs > staleMs;
    setAttribute(this.section, "data-stale", isStale);
    setAttribute(this.stale, "hidden", !isStale);
    if (isStale) setText(this.stale, `no data for ${formatDuration(silentMs)}`);
    const windows = describeWindows(store, this.config, source);
    setAttribute(this.windows, "hidden", windows === "");
    setAttribute(this.windows, "title", windows ? `Measured over different times. ${windows}` : null);
    if (this.#isFilled) return;
    const names = this.config.fields.map((field) => field.label).join(", ");
    const isEmpty = hasType && this.#painted?.version > 0;
    // A test without errors publishes none: that is good news, and nothing to wait for.
    const isWell = !hasType && this.config.metric_type === ERRORS && store.newest(REQUESTS) !== null;
    const waiting = isWell ? "No errors so far" : `Waiting for ${this.config.metric_type} metrics…`;
    setText(this.waitingText, isEmpty && names ? `No values for ${names} yet` : waiting);
    setAttribute(this.hint, "hidden", hasType || isWell || nowMs - startedAtMs < HINT_AFTER_MS);
  }

  /**
   * Mark a panel that shows the newest values while charts over time show another stretch.
   *
   * @param {string | null} words when the values are from, such as "now"; null: charts show the same time
   */
  showNow(words) {
    const isMarked = words !== null && this.config.kind !== "text" && this.chart.draw === undefined;
    setAttribute(this.now, "hidden", !isMarked);
    if (isMarked) setText(this.now, words);
  }

  /** Use the colours of the current theme from the next painting on. */
  restyle() {
    this.chart.restyle?.();
  }

  /** Show the fields with the labels and units that the configuration has now. */
  redescribe() {
    const body = this.section.querySelector("[data-panel-body]");
    this.chart.stop();
    body.replaceChildren();
    this.chart = new this.chart.constructor(this.config, body);
    this.#painted = null;
  }

  stop() {
    this.chart.stop();
  }

  #showLevel() {
    const level = this.chart.level ?? "none";
    const shown = this.#isFilled && (level === "warn" || level === "bad");
    setAttribute(this.section, "data-level", level);
    if (!this.state) return;
    setAttribute(this.state, "hidden", !shown);
    setAttribute(this.state, "data-level", level);
    if (!shown) return;
    setLevelIcon(this.icon, level);
    setText(this.stateWord, LEVEL_WORDS[level]);
  }
}
