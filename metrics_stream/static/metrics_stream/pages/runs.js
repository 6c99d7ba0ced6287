// The test runs that a page can replay, newest first, as listed in the page.

/** The list is not fetched more often, however many metrics belong to runs that it lacks. */
const REQUEST_INTERVAL_MS = 5_000;

/** A run without metrics for this long has probably ended. */
const SILENT_MS = 20_000;

/** A run without any metric since the list was read: after this long it has failed, if its program is gone. */
const UNSEEN_MS = 60_000;

const ACTIVE = new Set(["running", "paused"]);

/**
 * @typedef {object} Run
 * @property {string} id
 * @property {string} name
 * @property {string} status
 * @property {number} startedMs
 * @property {number | null} endedMs
 * @property {import("./phases.js").Phase[]} phases
 */

export class Runs {
  #lastMetricAtMs = new Map();
  // Runs that the list lacks even after it was fetched again: this page may not show them.
  #unlistedIds = new Set();
  #requestedAtMs = -Infinity;
  #listedAtMs = null;
  #request = null;

  /** @param {Document} page @param {() => void} changed */
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    /** @type {Run[]} */
    this.list = readRuns(page);
  }

  stop() {
    this.#request?.abort();
  }

  /** @returns {Run | null} the running or paused run that was started last */
  get active() {
    return this.list.find((run) => ACTIVE.has(run.status)) ?? null;
  }

  /** @param {string | null} id @returns {Run | null} */
  find(id) {
    return this.list.find((run) => run.id === id) ?? null;
  }

  /** Note that a live metric belongs to a run. @param {string} id @param {number} nowMs */
  noteLiveRun(id, nowMs) {
    if (!this.#unlistedIds.has(id)) this.#lastMetricAtMs.set(id, nowMs);
  }

  /** Fetch the list again where the metrics show that it is out of date. @param {number} nowMs */
  refresh(nowMs) {
    const isNew = [...this.#lastMetricAtMs.keys()].some((id) => this.find(id) === null);
    if ((!isNew && !this.#mayHaveEnded(nowMs)) || nowMs - this.#requestedAtMs < REQUEST_INTERVAL_MS) return;
    this.#requestedAtMs = this.#listedAtMs = nowMs;
    this.#fetchList();
  }

  #mayHaveEnded(nowMs) {
    this.#listedAtMs ??= nowMs;
    if (this.active === null) return false;
    const lastMetricAtMs = this.#lastMetricAtMs.get(this.active.id);
    return lastMetricAtMs === undefined ? nowMs - this.#listedAtMs > UNSEEN_MS : nowMs - lastMetricAtMs > SILENT_MS;
  }

  async #fetchList() {
    this.#request = new AbortController();
    try {
      const answer = await fetch(location.pathname, { signal: this.#request.signal });
      // Redirected to the sign-in.
      if (!answer.ok || answer.redirected) return;
      this.list = readRuns(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The server was away for a moment, or the viewer left the page; the next metrics cause another try.
      return;
    }
    for (const id of this.#lastMetricAtMs.keys()) if (this.find(id) === null) this.#unlistedIds.add(id);
    this.#lastMetricAtMs.clear();
    this.changed();
  }
}

/** @param {Document} page @returns {Run[]} */
function readRuns(page) {
  const found = JSON.parse(page.getElementById("page-runs")?.textContent ?? "[]");
  return found.map(({ id, name, status, started_at: startedAt, ended_at: endedAt, phases = [] }) => ({
    id,
    name,
    status,
    startedMs: Date.parse(startedAt),
    endedMs: endedAt === null ? null : Date.parse(endedAt),
    phases: phases.map(({ name, start, end }) => ({
      name,
      startMs: Date.parse(start),
      endMs: end === null ? null : Date.parse(end),
    })),
  }));
}
