// The dashboard page: joins the connection, the store and the panels. Room: pages.

import { setAttribute, setText } from "../charts/dom.js";
import { Connection, socketUrl } from "../client/connection.js";
import { formatDuration } from "../client/format.js";
import { Store } from "../client/series.js";
import { ConnectionBadge } from "./connection_badge.js";
import { Notes } from "./notes.js";
import { Panel } from "./panel.js";

/** How often words such as ages are brought up to date. */
const WORDS_MS = 250;

/** How often what nobody looks at any more is forgotten. */
const TRIM_MS = 10_000;

const DEFAULT_WINDOW_SECONDS = 300;

class DashboardPage {
  #removers = [];
  #timers = [];
  #frame = null;
  #source = null;
  #knownSources = "";
  #skipped = 0;

  /** @param {object} config the page configuration @param {Document} page */
  constructor(config, page) {
    this.config = config;
    this.page = page;
    this.store = new Store(tracksOf(config.panels));
    this.connection = new Connection(socketUrl(config.socket_path, location, { preset: config.preset }));
    this.panels = config.panels.flatMap((panel) => {
      const section = page.querySelector(`[data-panel="${CSS.escape(String(panel.id))}"]`);
      return section === null ? [] : [new Panel(panel, section)];
    });
    this.badge = new ConnectionBadge(page.querySelector("[data-connection]"), this.connection);
    this.notes = new Notes(page.querySelector("[data-notes]"));
    this.age = page.querySelector("[data-age]");
    this.picker = page.querySelector("[data-source-picker]");
    this.startedAtMs = 0;
  }

  start() {
    this.startedAtMs = this.connection.clock.now();
    this.#source = new URL(location.href).searchParams.get("source") || null;
    this.#showSources();
    this.badge.start();
    this.#removers.push(() => this.badge.stop());
    this.#removers.push(this.connection.on("message", (message) => this.#receive(message)));
    this.#listen(this.page, "visibilitychange", () => this.#showOrHide());
    this.#listen(window, "online", () => this.connection.retryNow());
    // A page in the back-forward cache must not hold a socket.
    this.#listen(window, "pagehide", () => this.connection.stop("the page was left"));
    this.#listen(window, "pageshow", (event) => event.persisted && this.connection.start());
    this.#listen(this.page.documentElement, "themechange", () => this.panels.forEach((panel) => panel.restyle()));
    if (this.picker) this.#listen(this.picker, "change", () => this.#pickSource(this.picker.value || null));
    this.#watchFullScreen();
    this.#observePanels();
    if (this.config.metric_types.length) this.connection.subscribe(this.config.metric_types);
    this.connection.start();
    this.#showOrHide();
  }

  stop() {
    this.connection.stop();
    for (const remove of this.#removers.splice(0)) remove();
    this.#pause();
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

  #receive(message) {
    const nowMs = this.connection.clock.now();
    if (message.type === "metric_update") {
      this.store.add(message.data, nowMs);
    } else if (message.type === "metric_batch" && Array.isArray(message.data)) {
      for (const metric of message.data) this.store.add(metric, nowMs);
    } else if (message.type === "gap") {
      this.#showGap(message);
    } else if (message.type === "status") {
      this.#showBus(message.bus);
    } else if (message.type === "error") {
      this.notes.show(`error ${message.code}`, "error", `The server says: ${message.message ?? message.code}`);
    }
  }

  #showBus(bus) {
    // A standing note, as the page itself is connected and would otherwise just look quiet.
    if (bus === "stale") this.notes.show("bus", "error", "The server hears nothing from the producers. It goes on trying.");
    else this.notes.hide("bus");
  }

  #showGap({ dropped, reason }) {
    this.#skipped += dropped ?? 0;
    const count = dropped === null || dropped === undefined ? "Some samples" : `${this.#skipped} ${this.#skipped === 1 ? "sample" : "samples"}`;
    this.notes.show("gap", "warning", `${count} skipped: ${reason}`);
  }

  // ---- painting ----

  #showOrHide() {
    if (this.page.hidden) this.#pause();
    else this.#resume();
  }

  #pause() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    // In a hidden page only forgetting goes on.
    this.#timers.push(setInterval(() => this.store.trim(this.connection.clock.now()), TRIM_MS));
  }

  #resume() {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    this.#timers.push(setInterval(() => this.#showWords(), WORDS_MS));
    this.#timers.push(setInterval(() => this.store.trim(this.connection.clock.now()), TRIM_MS));
    this.connection.retryNow();
    this.#showWords();
    this.#frame ??= requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    const nowMs = this.connection.clock.now();
    for (const panel of this.panels) {
      if (!panel.paint({ store: this.store, source: this.#source, nowMs })) panel.tick(nowMs);
    }
    this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #showWords() {
    const nowMs = this.connection.clock.now();
    const staleMs = this.config.stale_after_seconds * 1000;
    let newestMs = null;
    for (const metricType of this.config.metric_types) {
      const newest = this.store.newest(metricType);
      if (newest !== null) newestMs = Math.max(newestMs ?? -Infinity, newest.timestampMs);
    }
    this.#showAge(newestMs === null ? null : nowMs - newestMs, staleMs);
    for (const panel of this.panels) {
      const typeSeen = this.store.newest(panel.config.metric_type) !== null;
      panel.showAge({ nowMs, staleMs, startedAtMs: this.startedAtMs, typeSeen });
    }
    this.#showSources();
  }

  #showAge(ageMs, staleMs) {
    setAttribute(this.age, "data-stale", ageMs !== null && ageMs > staleMs);
    if (ageMs === null) setText(this.age, "No samples yet");
    else if (ageMs < -2_000) setText(this.age, `Newest sample is ${formatDuration(-ageMs)} ahead of the server's clock`);
    else setText(this.age, `Newest sample ${formatDuration(ageMs)} ago`);
  }

  // ---- sources ----

  #showSources() {
    if (!this.picker) return;
    const sources = this.store.sources();
    if (this.#source !== null && !sources.includes(this.#source)) sources.push(this.#source);
    const known = sources.join("\u0000");
    if (known === this.#knownSources && this.picker.options.length) return;
    this.#knownSources = known;
    this.picker.replaceChildren(new Option("All sources", ""), ...sources.map((source) => new Option(source, source)));
    this.picker.value = this.#source ?? "";
  }

  #pickSource(source) {
    this.#source = source;
    const address = new URL(location.href);
    if (source === null) address.searchParams.delete("source");
    else address.searchParams.set("source", source);
    // In the address, so that a link shows the same picture.
    history.replaceState(null, "", address);
  }

  // ---- full screen ----

  #watchFullScreen() {
    const button = this.page.querySelector("[data-full-screen]");
    if (button === null || !this.page.fullscreenEnabled) return;
    button.hidden = false;
    const show = () => setText(button.lastElementChild, this.page.fullscreenElement ? "Leave full screen" : "Full screen");
    this.#listen(button, "click", () => {
      if (this.page.fullscreenElement) this.page.exitFullscreen();
      else this.page.documentElement.requestFullscreen();
    });
    this.#listen(this.page, "fullscreenchange", show);
    show();
  }
}

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
