// The dashboard page: joins the connection, the feed, the time machine and the panels. Room: pages.

import { formatClock } from "../charts/axis.js";
import { setAttribute, setText } from "../charts/dom.js";
import { isRefusalCode } from "../client/close_codes.js";
import { Connection, socketUrl } from "../client/connection.js";
import { Feed } from "../client/feed.js";
import { formatDuration } from "../client/format.js";
import { Mender } from "../client/gap_refill.js";
import { REST_SECONDS } from "../client/subscription.js";
import { ConnectionBadge } from "./connection_badge.js";
import { watchFullScreen } from "./full_screen.js";
import { watchKeys } from "./keys.js";
import { Notes } from "./notices.js";
import { Painter } from "./painter.js";
import { Panel } from "./panel.js";
import { Runs } from "./runs.js";
import { SourcePicker } from "./source_picker.js";
import { TimeBar } from "./timebar.js";
import { TimeMachine } from "./time_machine.js";

/** How often words such as ages are brought up to date. */
const WORDS_MS = 250;

/** How often what nobody looks at any more is forgotten. */
const TRIM_MS = 10_000;

/** A page that is hidden for longer lets its connection rest; who only glances at another tab shall not notice. */
const REST_AFTER_MS = 5_000;

const DEFAULT_WINDOW_SECONDS = 300;

class DashboardPage {
  #removers = [];
  #timers = [];
  #skipped = 0;
  // The notes of errors that the server told of.
  #complaints = new Set();
  // When the last frame came, while frames are rare; the next one holds what came to the server since then.
  #gatheredSinceMs = null;
  #caughtUpAtMs = -Infinity;

  /** @param {object} config the page configuration @param {Document} page */
  constructor(config, page) {
    this.config = config;
    this.page = page;
    const tracks = tracksOf(config.panels);
    const windowSeconds = Math.max(...tracks.map((track) => track.windowSeconds), 60);
    this.feed = new Feed(tracks);
    this.connection = new Connection(socketUrl(config.socket_path, location, { preset: config.preset }));
    this.panels = config.panels.flatMap((panel) => {
      const section = page.querySelector(`[data-panel="${CSS.escape(String(panel.id))}"]`);
      return section === null ? [] : [new Panel(panel, section)];
    });
    this.badge = new ConnectionBadge(page.querySelector("[data-connection]"), this.connection);
    this.notes = new Notes(page.querySelector("[data-notes]"));
    this.age = page.querySelector("[data-age]");
    this.sources = new SourcePicker(page.querySelector("[data-source-picker]"));
    this.runs = new Runs(page, () => this.timebar.show());
    const { connection, feed, runs, notes } = this;
    this.time = new TimeMachine({ connection, feed, runs, notes, config, windowSeconds, changed: () => this.timebar.show() });
    this.mender = new Mender(connection, feed, { historySeconds: config.history_seconds, isLive: () => !this.time.isReplaying });
    this.timebar = new TimeBar(page, this.time, this.badge);
    this.painter = new Painter(this.panels, () => this.#look());
    this.startedAtMs = 0;
  }

  start() {
    this.startedAtMs = this.connection.clock.now();
    this.sources.start();
    this.badge.start();
    this.timebar.start();
    for (const part of [this.sources, this.badge, this.timebar, this.time, this.mender, this.runs]) this.#removers.push(() => part.stop());
    this.#removers.push(this.connection.on("message", (message) => this.#receive(message)));
    this.#removers.push(watchKeys(this.page, this.time), watchFullScreen(this.page));
    this.#listen(this.page, "visibilitychange", () => this.#showOrHide());
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
    this.#showOrHide();
  }

  stop() {
    this.connection.stop();
    for (const remove of this.#removers.splice(0)) remove();
    this.painter.stop();
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.notes.stop();
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
      // A little early, so that a panel is painted by the time it scrolls into view.
      { rootMargin: "200px" },
    );
    for (const panel of this.panels) observer.observe(panel.section);
    this.#removers.push(() => observer.disconnect());
  }

  // ---- what comes ----

  #receive(message) {
    if (this.time.player.take(message)) return;
    if (message.type === "welcome") {
      this.#forgetComplaints();
    } else if (message.type === "metric_update") {
      this.#take(message, [message.data]);
    } else if (message.type === "metric_batch" && Array.isArray(message.data)) {
      this.#take(message, message.data);
    } else if (message.type === "backfill") {
      this.#fill(message);
    } else if (message.type === "gap") {
      this.mender.take(message);
      this.#showGap(message);
    } else if (message.type === "status") {
      this.#showBus(message.bus);
    } else if (message.type === "error" && !isRefusalCode(message.code)) {
      this.#complaints.add(`error ${message.code}`);
      this.notes.show(`error ${message.code}`, "error", `The server says: ${message.message ?? message.code}`);
    }
  }

  #fill(backfill) {
    if (this.time.player.partOf(backfill) !== (this.time.isReplaying ? "replay" : "live")) return;
    // The picture that was waited for is not to wait for its turn as well.
    if (this.feed.fill(backfill) && !this.page.hidden) this.painter.start();
  }

  #take(frame, metrics) {
    const { time, feed } = this;
    const part = time.player.partOf(frame);
    if (part === "replay") {
      for (const metric of metrics) feed.target.add(metric, Infinity, -Infinity);
      return;
    }
    if (part === null) return;
    const nowMs = this.connection.clock.now();
    const sinceMs = frame.replayed ? -Infinity : (this.#gatheredSinceMs ?? nowMs);
    // While a replay is asked for, what is live belongs to what is shown still.
    const store = time.isReplaying ? feed.store : feed.target;
    for (const metric of metrics) {
      store.add(metric, nowMs, sinceMs);
      if (!frame.replayed && metric?.run !== undefined) this.runs.see(metric.run, nowMs);
    }
    if (frame.replayed) return;
    time.count(metrics.length);
    this.timebar.beat();
    this.#gatheredSinceMs = this.connection.isAtRest ? nowMs : null;
  }

  /** What a connection said of itself ends with it; of what goes on, the next one says so anew. */
  #forgetComplaints() {
    for (const key of ["bus", ...this.#complaints]) this.notes.hide(key);
    this.#complaints.clear();
  }

  #showBus(bus) {
    // A standing note, as the page itself is connected and would otherwise just look quiet.
    if (bus === "stale") this.notes.show("bus", "error", "The server hears nothing from the producers. It goes on trying.");
    else this.notes.hide("bus");
  }

  #showGap({ dropped, reason }) {
    this.#skipped += dropped ?? 0;
    const count = dropped === null || dropped === undefined ? "Some samples" : `${this.#skipped} ${this.#skipped === 1 ? "sample" : "samples"}`;
    this.notes.show("gap", "warning", `${count} ${GAP_WORDS.get(reason) ?? `skipped: ${reason}`}`);
  }

  // ---- whether anybody looks ----

  #showOrHide() {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.#timers.push(setInterval(() => this.#trim(), TRIM_MS));
    if (this.page.hidden) this.#hide();
    else this.#show();
  }

  #trim() {
    this.time.tick();
    this.feed.store.trim(this.time.nowMs);
  }

  #hide() {
    this.painter.stop();
    // In a hidden page only forgetting goes on.
    this.#timers.push(setTimeout(() => this.#rest(), REST_AFTER_MS));
  }

  #rest() {
    this.#gatheredSinceMs = this.connection.clock.now();
    this.connection.rest();
  }

  #wake() {
    if (!this.connection.isAtRest) return;
    // The server answers with what has gathered, at the latest after one interval.
    this.#caughtUpAtMs = this.connection.clock.now() + 1000 * ((this.connection.intervalSeconds ?? 0) + 1);
    this.connection.wake();
  }

  #show() {
    this.#timers.push(setInterval(() => this.#showWords(), WORDS_MS));
    this.#wake();
    this.connection.retryNow();
    this.#showWords();
    this.painter.start();
  }

  #look() {
    const { time, feed } = this;
    return {
      store: feed.store,
      source: this.sources.source,
      moment: time.moment,
      isHeld: feed.isFilling || time.player.isSeeking,
      isStill: !time.isReplaying && time.isPaused,
    };
  }

  #showWords() {
    const { nowMs, isReplaying } = this.time;
    const { store } = this.feed;
    this.time.tick();
    this.timebar.show();
    if (!isReplaying) this.runs.refresh(this.connection.clock.now());
    // At rest nobody asked for anything newer, so that nothing is called stale for it before it can have come.
    const restedMs = nowMs < this.#caughtUpAtMs ? REST_SECONDS * 1000 : 0;
    const staleMs = this.config.stale_after_seconds * 1000 + restedMs;
    // What is painted does not age while the page is paused; what comes meanwhile is not painted.
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
    this.sources.show(store.sources());
  }

  #showAge(ageMs, staleMs) {
    setAttribute(this.age, "data-stale", ageMs !== null && ageMs > staleMs);
    const { isReplaying } = this.time;
    if (ageMs === null) setText(this.age, "No samples yet");
    else if (isReplaying) setText(this.age, `Newest sample ${formatDuration(ageMs)} earlier`);
    else if (ageMs < -2_000) setText(this.age, `Newest sample is ${formatDuration(-ageMs)} ahead of the server's clock`);
    else setText(this.age, `Newest sample ${formatDuration(ageMs)} ago`);
  }
}

/** What happened to samples that did not come, where the server's word alone says little. */
const GAP_WORDS = new Map([["history", "missed: the server does not keep them any more"]]);

/** What has to be kept over time: every field of the panels that draw a past. */
function tracksOf(panels) {
  return panels.flatMap((panel) =>
    panel.fields.map((field) => ({
      metricType: panel.metric_type,
      path: field.path,
      windowSeconds: panel.options.window_seconds ?? DEFAULT_WINDOW_SECONDS,
    })),
  );
}

const config = JSON.parse(document.getElementById("page-config").textContent);
const dashboardPage = new DashboardPage(config, document);
dashboardPage.start();
