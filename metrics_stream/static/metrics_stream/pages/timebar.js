// The time bar of a dashboard: live or paused, how far back, and the controls of a replay. Works on the markup of
// _timebar.html; the time machine carries out the actions.

import { setAttribute, setText } from "../charts/dom.js";
import { formatDuration } from "../client/format.js";
import { clock, minuteClock } from "../client/time_of_day.js";
import { Phases } from "./phases.js";

/** The phases of a replay that has none; always the same list, so that nothing is shown anew. */
const NO_PHASES = [];

/** The badge shows a frame by a beat, at most about once a second. */
const BEAT_EVERY_MS = 1_000;

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** The parts, by their `data-time-…` attributes. */
const PARTS = [
  ...["toggle", "toggle-word", "window", "zoom", "runs", "live", "lack", "lack-words", "lack-run"],
  ...["replay", "slider", "at", "end", "speed", "whole", "title", "phases"],
];

export class TimeBar {
  #removers = [];
  #beatAtMs = 0;
  #shownRuns = null;
  /** The time at the slider while it is dragged. */
  #draggedMs = null;

  /** @param {Document} page @param {TimeMachine} time @param {ConnectionBadge} badge */
  constructor(page, time, badge) {
    this.page = page;
    this.time = time;
    this.badge = badge;
    const root = page.querySelector("[data-timebar]");
    const find = (name) => root.querySelector(`[data-time-${name}]`);
    this.parts = Object.fromEntries(PARTS.map((name) => [name, find(name)]));
    this.title = page.title;
    this.phases = new Phases(this.parts.phases, (atMs) => this.time.seek(atMs));
  }

  start() {
    const { toggle, window, zoom, runs, live, slider, speed, whole, "lack-run": lackRun } = this.parts;
    this.#listen(toggle, "click", () => this.time.togglePause());
    this.#listen(window, "change", () =>
      this.time.setWindow(window.value === "run" ? "run" : Number(window.value) || null),
    );
    this.#listen(zoom, "click", () => this.time.setZoom(null));
    this.#listen(runs, "change", () => this.#chooseReplay(runs.value));
    this.#listen(live, "click", () => this.time.toLive());
    this.#listen(speed, "change", () => this.time.setSpeed(Number(speed.value)));
    this.#listen(whole, "click", () => this.time.showRun(this.time.player.run));
    this.#listen(lackRun, "click", () => this.time.showRun(this.time.runs.active.id));
    // A share link to one run allows no other choice.
    setAttribute(runs, "hidden", !this.time.config.is_live);
    const recent = runs.querySelector('[value="recent"]');
    setAttribute(recent, "hidden", !this.time.config.history_seconds);
    setAttribute(recent, "disabled", !this.time.config.history_seconds);
    this.phases.start();
    this.#listen(slider, "input", () => this.#dragSlider());
    this.#listen(slider, "change", () => this.#dropSlider());
    this.show();
  }

  stop() {
    for (const remove of this.#removers.splice(0)) remove();
    this.phases.stop();
  }

  /** Show that live metrics have come. */
  beat() {
    const nowMs = performance.now();
    if (!this.time.isLive || this.page.hidden || nowMs - this.#beatAtMs < BEAT_EVERY_MS) return;
    this.#beatAtMs = nowMs;
    this.badge.beat();
  }

  /** Update all parts; write only what changed. */
  show() {
    const { time, parts } = this;
    const { isReplaying, isPaused } = time;
    const state = isReplaying ? "replay" : isPaused ? "paused" : "live";
    setAttribute(this.page.documentElement, "data-time", state);
    this.badge.setTime(this.#stateWords(state));
    const canPlay = isReplaying && isPaused;
    setText(parts["toggle-word"], isReplaying ? (canPlay ? "Play" : "Pause") : isPaused ? "Resume" : "Pause");
    setAttribute(parts.toggle, "data-shows", isPaused ? "play" : "pause");
    setAttribute(parts.live, "hidden", !isReplaying || !time.config.is_live);
    setAttribute(parts.zoom, "hidden", time.zoom === null);
    this.#showWindow();
    this.#showRuns();
    this.#showMissingPast();
    setAttribute(parts.replay, "hidden", !isReplaying);
    if (isReplaying) this.#showReplay();
    const title = isReplaying ? `Replay · ${this.title}` : this.title;
    if (this.page.title !== title) this.page.title = title;
  }

  #stateWords(state) {
    const { time } = this;
    if (state === "live") return null;
    if (state === "paused") {
      const count = time.behind;
      return { state, words: `Paused, ${count.toLocaleString("en")} ${count === 1 ? "update" : "updates"} behind` };
    }
    const { speed, state: play } = time.player;
    const words = { playing: `Replay, ${speed}×`, paused: "Replay, paused", ended: "Replay, at its end" }[play];
    return { state, words };
  }

  #showWindow() {
    const { time } = this;
    const select = this.parts.window;
    const value = time.window === null ? "" : String(time.window);
    const run = select.querySelector('[value="run"]');
    setAttribute(run, "hidden", time.runStartMs === null);
    setAttribute(run, "disabled", time.runStartMs === null);
    if ([...select.options].every((option) => option.value !== value)) {
      // From a link that was written by hand.
      run.before(new Option(`Last ${formatDuration(time.window * 1000)}`, value));
    }
    if (select.value !== value) select.value = value;
  }

  /** Show where the data begins, if that is later than the window, and offer the recording that has more. */
  #showMissingPast() {
    const { time, parts } = this;
    const { firstShownMs } = time;
    setAttribute(parts.lack, "hidden", firstShownMs === null);
    if (firstShownMs === null) return;
    const { active } = time.runs;
    const run = active !== null && active.startedMs < firstShownMs ? active : null;
    const kept = formatDuration(time.config.history_seconds * 1000);
    const recorded = run === null ? "" : ` ${run.name} is recorded from ${clock.format(run.startedMs)}.`;
    const begin = `This page has no data before ${clock.format(firstShownMs)}`;
    setText(parts["lack-words"], `${begin}: the server keeps live metrics for ${kept}.${recorded}`);
    setAttribute(parts["lack-run"], "hidden", run === null);
  }

  #showRuns() {
    const { time } = this;
    const select = this.parts.runs;
    if (time.runs.list !== this.#shownRuns) {
      this.#shownRuns = time.runs.list;
      const group = select.querySelector("optgroup");
      group.replaceChildren(...time.runs.list.map((run) => new Option(describeRun(run), run.id)));
      setAttribute(group, "hidden", time.runs.list.length === 0);
    }
    const { run } = time.player;
    const value = time.isReplaying ? (run ?? "recent") : "";
    if (value !== "" && [...select.options].every((option) => option.value !== value)) {
      select.querySelector("optgroup").append(new Option(value, value));
    }
    if (select.value !== value) select.value = value;
  }

  #showReplay() {
    const { time, parts } = this;
    const { fromMs, untilMs, speed, run } = time.player;
    const atMs = this.#draggedMs ?? time.nowMs;
    const listed = time.runs.find(run);
    setText(parts.title, run === null ? "Recent past" : (listed?.name ?? run));
    this.phases.show(listed?.phases ?? NO_PHASES, atMs);
    setText(parts.at, formatInstant(atMs));
    const known = fromMs !== null && untilMs !== null && untilMs > fromMs;
    setAttribute(parts.slider, "disabled", !known);
    if (known) {
      setAttribute(parts.slider, "max", Math.round((untilMs - fromMs) / 1000));
      const seconds = String(Math.min(Math.max(Math.round((atMs - fromMs) / 1000), 0), parts.slider.max));
      if (this.#draggedMs === null && parts.slider.value !== seconds) parts.slider.value = seconds;
      const share = (100 * (atMs - fromMs)) / (untilMs - fromMs);
      parts.slider.style.setProperty("--played", `${Math.min(Math.max(share, 0), 100).toFixed(2)}%`);
    }
    setAttribute(parts.slider, "aria-valuetext", formatInstant(atMs));
    setText(parts.end, known ? `${formatSpan(atMs - fromMs)} of ${formatSpan(untilMs - fromMs)}` : "");
    if (parts.speed.value !== String(speed)) {
      if ([...parts.speed.options].every((option) => option.value !== String(speed)))
        parts.speed.append(new Option(`${speed}×`, String(speed)));
      parts.speed.value = String(speed);
    }
    setAttribute(parts.whole, "hidden", run === null);
  }

  #chooseReplay(value) {
    if (value === "recent") this.time.replayRecent();
    else if (value === "") this.time.toLive();
    else this.time.showRun(value);
  }

  #dragSlider() {
    this.#draggedMs = this.time.player.fromMs + Number(this.parts.slider.value) * 1000;
    this.time.seek(this.#draggedMs);
    this.#showReplay();
  }

  #dropSlider() {
    this.#dragSlider();
    this.#draggedMs = null;
  }

  #listen(target, name, listener) {
    target.addEventListener(name, listener);
    this.#removers.push(() => target.removeEventListener(name, listener));
  }
}

/**
 * @param {number} milliseconds
 * @param {Intl.DateTimeFormat} [how] the format of the time of day
 * @returns {string} the local time, with the day unless it is today
 */
function formatInstant(milliseconds, how = clock) {
  const text = how.format(milliseconds);
  return new Date(milliseconds).toDateString() === new Date().toDateString()
    ? text
    : `${day.format(milliseconds)}, ${text}`;
}

/** @param {number} milliseconds @returns {string} "4:07" or "1:02:30" */
function formatSpan(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}`;
}

function describeRun({ name, status, startedMs, endedMs }) {
  const when = formatInstant(startedMs, minuteClock);
  const length = endedMs === null ? status : formatDuration(endedMs - startedMs);
  const how = endedMs !== null && status !== "completed" ? `, ${status}` : "";
  return `${name} · ${when} · ${length}${how}`;
}
