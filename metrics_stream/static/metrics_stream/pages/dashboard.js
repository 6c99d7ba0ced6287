// The dashboard page: joins the connection, the feed, the time machine and the panels.

import { formatClock } from "../charts/axis.js";
import { setAttribute, setText } from "../charts/dom.js";
import { loadCharts } from "../charts/kinds.js";
import { isRefusalCode } from "../client/close_codes.js";
import { Connection } from "../client/connection.js";
import { Feed } from "../client/feed.js";
import { formatDuration } from "../client/format.js";
import { GapRefill } from "../client/gap_refill.js";
import { socketUrl } from "../client/socket_url.js";
import { REST_SECONDS } from "../client/subscription.js";
import { updateFields } from "./catalogue_update.js";
import { ClockNotice } from "./clock_notice.js";
import { ConnectionBadge } from "./connection_badge.js";
import { Doubts } from "./doubts.js";
import { watchFullScreen } from "./full_screen.js";
import { watchKeys } from "./keys.js";
import { Notices } from "./notices.js";
import { Painter } from "./painter.js";
import { Panel } from "./panel.js";
import { Runs } from "./runs.js";
import { SourcePicker } from "./source_picker.js";
import { TimeBar } from "./timebar.js";
import { TimeMachine } from "./time_machine.js";

/** How often texts such as ages are updated. */
const TEXT_UPDATE_MS = 250;

/** How often metrics that are no longer shown are forgotten. */
const TRIM_MS = 10_000;

/** A page that is hidden for longer slows its connection down; a glance at another tab must have no effect. */
const REST_AFTER_MS = 5_000;

const DEFAULT_WINDOW_SECONDS = 300;

class DashboardPage {
  #removers = [];
  #timers = [];
  #skippedSamples = 0;
  // The notes of errors that the server told of.
  #errorNotices = new Set();
  // When the last frame came, while frames are rare: the next one holds all metrics that reached the server since then.
  #lastRareFrameAtMs = null;
  #caughtUpAtMs = -Infinity;

  /**
   * @param {object} config the page configuration
   * @param {Document} page
   * @param {Map<string, Function>} charts the chart class of each panel kind
   */
  constructor(config, page, charts) {
    this.config = config;
    this.page = page;
    const tracks = tracksOf(config.panels);
    const windowSeconds = Math.max(...tracks.map((track) => track.windowSeconds), 60);
    this.feed = new Feed(tracks);
    this.connection = new Connection(socketUrl(config.socket_path, location, { preset: config.preset }));
    this.panels = config.panels.flatMap((panel) => {
      const section = page.querySelector(`[data-panel="${CSS.escape(String(panel.id))}"]`);
      return section === null ? [] : [new Panel(panel, section, charts.get(panel.kind))];
    });
    this.badge = new ConnectionBadge(page.querySelector("[data-connection]"), this.connection);
    this.notices = new Notices(page.querySelector("[data-notices]"));
    this.age = page.querySelector("[data-age]");
    this.doubts = new Doubts(page.querySelector("[data-doubts]"), config.validity);
    this.sources = new SourcePicker(page.querySelector("[data-source-picker]"));
    this.clockNotice = new ClockNotice(this.notices, this.sources);
    this.runs = new Runs(page, () => this.timebar.show());
    const { connection, feed, runs, notices } = this;
    this.time = new TimeMachine({
      connection,
      feed,
      runs,
      notices,
      config,
      windowSeconds,
      changed: () => this.timebar.show(),
    });
    this.gapRefill = new GapRefill(connection, feed, {
      historySeconds: config.history_seconds,
      isLive: () => !this.time.isReplaying,
    });
    this.timebar = new TimeBar(page, this.time, this.badge);
    this.painter = new Painter(this.panels, () => this.#readFrame());
    this.startedAtMs = 0;
  }

  start() {
    this.startedAtMs = this.connection.clock.now();
    this.sources.start();
    this.badge.start();
    this.timebar.start();
    for (const part of [this.sources, this.badge, this.timebar, this.time, this.gapRefill, this.runs])
      this.#removers.push(() => part.stop());
    this.#removers.push(this.connection.on("message", (message) => this.#handleMessage(message)));
    this.#removers.push(watchKeys(this.page, this.time), watchFullScreen(this.page));
    this.#listen(this.page, "visibilitychange", () => this.#handleVisibility());
    this.#listen(window, "online", () => this.connection.retryNow());
    // A page in the back-forward cache must not hold a socket.
    this.#listen(window, "pagehide", () => this.connection.stop("the page was left"));
    this.#listen(window, "pageshow", (event) => event.persisted && this.connection.start());
    this.#listen(this.page.documentElement, "themechange", () => this.panels.forEach((panel) => panel.restyle()));
    this.#listen(this.page, "zoom", (event) => this.time.setZoom(event.detail));
    this.#listen(this.page, "zoomend", () => this.time.setZoom(null));
    this.#observePanels();
    if (this.config.metric_types.length) this.connection.subscribe(this.config.metric_types);
    this.time.start();
    this.connection.start();
    this.#handleVisibility();
  }

  stop() {
    this.connection.stop();
    for (const remove of this.#removers.splice(0)) remove();
    this.painter.stop();
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.notices.stop();
    for (const panel of this.panels) panel.stop();
  }

  #listen(target, name, listener) {
    target.addEventListener(name, listener);
    this.#removers.push(() => target.removeEventListener(name, listener));
  }

  #observePanels() {
    const bySection = new Map(this.panels.map((panel) => [panel.section, panel]));
    const observer = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) bySection.get(entry.target).visible = entry.isIntersecting;
      },
      // A little early, so that a panel is painted before it scrolls into view.
      { rootMargin: "200px" },
    );
    for (const panel of this.panels) observer.observe(panel.section);
    this.#removers.push(() => observer.disconnect());
  }

  // ---- messages ----

  #handleMessage(message) {
    if (this.time.player.take(message)) return;
    if (message.type === "welcome") {
      this.#hideErrorNotices();
      this.doubts.setConflicts([]);
    } else if (message.type === "metric_update") {
      this.#addMetrics(message, [message.data]);
    } else if (message.type === "metric_batch" && Array.isArray(message.data)) {
      this.#addMetrics(message, message.data);
    } else if (message.type === "backfill") {
      this.#addBackfill(message);
    } else if (message.type === "gap") {
      this.gapRefill.take(message);
      this.#showGap(message);
    } else if (message.type === "source_conflicts") {
      this.doubts.setConflicts(message.conflicts);
    } else if (message.type === "catalogue_changed") {
      for (const panel of updateFields(this.panels, message)) panel.redescribe();
    } else if (message.type === "status") {
      this.#showBus(message.bus);
    } else if (message.type === "error" && !isRefusalCode(message.code)) {
      this.#errorNotices.add(`error ${message.code}`);
      this.notices.show(`error ${message.code}`, "error", `The server says: ${message.message ?? message.code}`);
    }
  }

  #addBackfill(backfill) {
    if (backfill.left_out?.length)
      this.notices.show(
        "left out",
        "warning",
        `Charts lack some of the past: there are too many series of ${backfill.left_out.join(", ")}.`,
      );
    else if (backfill.done) this.notices.hide("left out");
    if (this.time.player.partOf(backfill) !== (this.time.isReplaying ? "replay" : "live")) return;
    // Paint the awaited past at once, not at the usual pace.
    if (this.feed.fill(backfill) && !this.page.hidden) this.painter.start();
  }

  #addMetrics(frame, metrics) {
    const { time, feed } = this;
    const part = time.player.partOf(frame);
    if (part === "replay") {
      for (const metric of metrics) {
        feed.target.add(metric, Infinity, -Infinity);
        this.doubts.add(metric, time.nowMs);
      }
      return;
    }
    if (part === null) return;
    const nowMs = this.connection.clock.now();
    const sinceMs = frame.replayed ? -Infinity : (this.#lastRareFrameAtMs ?? nowMs);
    // While a replay is requested, live metrics belong to the store that is still shown.
    const store = time.isReplaying ? feed.store : feed.target;
    for (const metric of metrics) {
      store.add(metric, nowMs, sinceMs);
      if (!time.isReplaying) this.doubts.add(metric, nowMs);
      if (!frame.replayed && metric?.run !== undefined) this.runs.noteLiveRun(metric.run, nowMs);
    }
    if (frame.replayed) return;
    time.count(metrics.length);
    this.timebar.beat();
    this.#lastRareFrameAtMs = this.connection.isAtRest ? nowMs : null;
  }

  /** Notices of the old connection end with it; the new one repeats those that still hold. */
  #hideErrorNotices() {
    for (const key of ["bus", ...this.#errorNotices]) this.notices.hide(key);
    this.#errorNotices.clear();
  }

  #showBus(bus) {
    // A notice that stays: the page itself is connected, and would only look idle.
    if (bus === "stale")
      this.notices.show("bus", "error", "The server receives nothing from the producers. It keeps trying.");
    else this.notices.hide("bus");
  }

  #showGap({ dropped, reason }) {
    this.#skippedSamples += dropped ?? 0;
    const count =
      dropped === null || dropped === undefined
        ? "Some samples"
        : `${this.#skippedSamples} ${this.#skippedSamples === 1 ? "sample" : "samples"}`;
    this.notices.show("gap", "warning", `${count} ${GAP_WORDS.get(reason) ?? `skipped: ${reason}`}`);
  }

  // ---- visibility ----

  #handleVisibility() {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.#timers.push(setInterval(() => this.#forgetOldData(), TRIM_MS));
    if (this.page.hidden) this.#suspendPage();
    else this.#resumePage();
  }

  #forgetOldData() {
    this.time.tick();
    this.feed.store.trim(this.time.nowMs);
  }

  #suspendPage() {
    this.painter.stop();
    // A hidden page only continues to forget old metrics.
    this.#timers.push(setTimeout(() => this.#slowDown(), REST_AFTER_MS));
  }

  #slowDown() {
    this.#lastRareFrameAtMs = this.connection.clock.now();
    this.connection.rest();
  }

  #speedUp() {
    if (!this.connection.isAtRest) return;
    // The server sends what it has gathered within one interval.
    this.#caughtUpAtMs = this.connection.clock.now() + 1000 * ((this.connection.intervalSeconds ?? 0) + 1);
    this.connection.wake();
  }

  #resumePage() {
    this.#timers.push(setInterval(() => this.#updateTexts(), TEXT_UPDATE_MS));
    this.#speedUp();
    this.connection.retryNow();
    this.#updateTexts();
    this.painter.start();
  }

  #readFrame() {
    const { time, feed } = this;
    return {
      store: feed.store,
      source: this.sources.source,
      moment: time.moment,
      isHeld: feed.isFilling || time.player.isSeeking,
      isStill: !time.isReplaying && time.isPaused,
    };
  }

  #updateTexts() {
    const { nowMs, isReplaying } = this.time;
    const { store } = this.feed;
    this.time.tick();
    this.timebar.show();
    this.#markNow();
    if (!isReplaying) this.runs.refresh(this.connection.clock.now());
    this.doubts.show(nowMs, this.sources.source, !isReplaying);
    // Frames were rare at rest: no panel counts as stale before the first usual frame can have come.
    const restedMs = nowMs < this.#caughtUpAtMs ? REST_SECONDS * 1000 : 0;
    const staleMs = this.config.stale_after_seconds * 1000 + restedMs;
    // A paused page shows one moment: its data does not age, and newer data is not painted.
    if (!isReplaying && this.time.isPaused) {
      setText(this.age, `As of ${formatClock(nowMs / 1000)}`);
      setAttribute(this.age, "data-stale", false);
      return;
    }
    let newestMs = null;
    for (const metricType of this.config.metric_types) {
      const newest = store.newest(metricType);
      if (newest !== null) newestMs = Math.max(newestMs ?? -Infinity, newest.timestampMs);
    }
    this.#showAge(newestMs === null ? null : nowMs - newestMs, staleMs);
    const frame = { store, source: this.sources.source };
    for (const panel of this.panels) panel.showAge(frame, { nowMs, staleMs, startedAtMs: this.startedAtMs });
    this.clockNotice.show(store.clocks.wrong);
    this.sources.show(store.sources());
  }

  /** While charts are zoomed in, say when the values of the other panels are from. */
  #markNow() {
    const { zoom, isLive, nowMs } = this.time;
    const words = zoom === null ? null : isLive ? "now" : `at ${formatClock(nowMs / 1000)}`;
    for (const panel of this.panels) panel.showNow(words);
  }

  #showAge(ageMs, staleMs) {
    setAttribute(this.age, "data-stale", ageMs !== null && ageMs > staleMs);
    const { isReplaying } = this.time;
    if (ageMs === null) setText(this.age, "No samples yet");
    else if (isReplaying) setText(this.age, `Newest sample ${formatDuration(ageMs)} earlier`);
    else if (ageMs < -2_000)
      setText(this.age, `Newest sample is ${formatDuration(-ageMs)} ahead of the server's clock`);
    else setText(this.age, `Newest sample ${formatDuration(ageMs)} ago`);
  }
}

/** Texts for the reasons of a gap, where the server's word alone does not explain it. */
const GAP_WORDS = new Map([["history", "missed: the server no longer keeps them"]]);

/** The kinds of panels that draw values over time; others show the newest values only. */
const KINDS_OVER_TIME = new Set(["line", "number", "histogram", "heatmap", "scatter"]);

/** Return the fields of the panels, and which of them to keep over time. */
function tracksOf(panels) {
  return panels.flatMap((panel) =>
    panel.fields.flatMap((field) => [field.path, field.flat_path ?? []].flat()).map((path) => ({
      metricType: panel.metric_type,
      path,
      windowSeconds: panel.options.window_seconds ?? DEFAULT_WINDOW_SECONDS,
      isDrawn: KINDS_OVER_TIME.has(panel.kind),
    })),
  );
}

const config = JSON.parse(document.getElementById("page-config").textContent);
const dashboardPage = new DashboardPage(config, document, await loadCharts(document));
dashboardPage.start();
