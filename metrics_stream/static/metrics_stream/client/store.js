// The metrics that a page keeps: series of numbers for charts, and the newest data for everything else. All of it is
// bounded in time and in count, so that a page that stays open for a day does not grow.

import { SHORTEST_GAP_MS } from "./buckets.js";
import { lookUp } from "./path.js";
import { Series } from "./series.js";
import { decodeSketch } from "./sketch.js";
import { SketchSeries } from "./sketch_series.js";

/** Bounds on names that producers choose. Beyond them, the longest silent one is forgotten. */
export const MAX_SERIES = 1024;
export const MAX_SOURCES = 32;
export const MAX_ENTRIES = 256;
const MAX_KEYS = 512;
/** A sketch takes as much memory as a hundred numbers. */
const MAX_SKETCH_SERIES = 32;

/** A timestamp further ahead comes from a wrong clock; its metric is drawn at the current time, not off the chart. */
const TOLERATED_AHEAD_MS = 2_000;

/**
 * @typedef {object} Track a number to keep over time
 * @property {string} metricType
 * @property {string} path
 * @property {number} windowSeconds
 *
 * @typedef {object} Latest the newest data of one source, or of one of its entries (agents)
 * @property {string} source
 * @property {string | null} agentId
 * @property {object} data
 * @property {Record<string, string>} units what the producer states of its fields: units by path
 * @property {Record<string, number>} windows seconds by path: over which time a value was measured
 * @property {number} timestampMs at most about the time of receipt
 * @property {number} receivedAtMs
 */

export class Store {
  /** @type {Map<string, Map<string, number>>} metric type → path → window in milliseconds */
  #tracks = new Map();
  /** @type {Map<string, Series>} */
  #series = new Map();
  /** @type {Map<string, Series[]>} metric type and path → series in order; emptied when a series comes or goes */
  #sorted = new Map();
  /** @type {Map<string, SketchSeries>} */
  #sketches = new Map();
  /** @type {Map<string, Map<string, {receivedAtMs: number, entries: Map<string, Latest>}>>} */
  #latest = new Map();
  #versions = new Map();
  #newest = new Map();

  /** @param {Track[]} tracks */
  constructor(tracks) {
    /** @type {number | null} time of the first metric in milliseconds; charts begin there */
    this.firstMs = null;
    for (const { metricType, path, windowSeconds } of tracks) {
      if (!this.#tracks.has(metricType)) this.#tracks.set(metricType, new Map());
      const paths = this.#tracks.get(metricType);
      paths.set(path, Math.max(paths.get(path) ?? 0, windowSeconds * 1000));
    }
  }

  /** @returns {number} */
  get seriesCount() {
    return this.#series.size;
  }

  /** @param {string} metricType @returns {number} grows with each metric of this type */
  version(metricType) {
    return this.#versions.get(metricType) ?? 0;
  }

  /** @param {string} metricType @returns {{timestampMs: number, receivedAtMs: number} | null} */
  newest(metricType) {
    return this.#newest.get(metricType) ?? null;
  }

  /**
   * Add one metric as received; anything else is ignored.
   *
   * @param {{metric_type: string, timestamp: string, source?: string, data: object | object[], units?: object,
   *   windows?: object}} metric
   * @param {number} nowMs server-corrected time of arrival in milliseconds; Infinity for a metric of the past
   * @param {number} [sinceMs] since when it may have waited at the server; a timestamp after that counts as its receipt
   */
  add(metric, nowMs, sinceMs = nowMs) {
    const data = metric?.data;
    if (data === null || typeof data !== "object" || typeof metric.metric_type !== "string") return;
    const parsedMs = Date.parse(metric.timestamp);
    const timestampMs = Number.isNaN(parsedMs) ? nowMs : parsedMs;
    if (timestampMs === Infinity) return;
    const receivedAtMs = Math.min(nowMs, Math.max(sinceMs, timestampMs));
    const metricType = metric.metric_type;
    const source = String(metric.source ?? "");
    const entries = Array.isArray(data) ? data : [data];
    for (const entry of entries) {
      if (entry === null || typeof entry !== "object") continue;
      const agentId = Array.isArray(data) ? String(entry.agent_id ?? "") : null;
      const latest = this.#updateLatest({ metricType, source, agentId, entry, timestampMs, receivedAtMs });
      latest.units = mergeKeys(latest.units, metric.units);
      latest.windows = mergeKeys(latest.windows, metric.windows);
      this.#addToSeries(metricType, latest);
    }
    this.#versions.set(metricType, this.version(metricType) + 1);
    const newest = this.#newest.get(metricType);
    // A clock that is ahead may be corrected, or its source may disappear: then its metric is not the newest for long.
    const isAhead = newest?.timestampMs > receivedAtMs + TOLERATED_AHEAD_MS;
    const heardAtMs = isAhead ? newest.saidAtMs : newest?.receivedAtMs;
    if (!newest || timestampMs >= newest.timestampMs || receivedAtMs - heardAtMs > SHORTEST_GAP_MS) {
      this.#newest.set(metricType, { timestampMs, receivedAtMs, saidAtMs: receivedAtMs });
    } else {
      newest.receivedAtMs = Math.max(newest.receivedAtMs, receivedAtMs);
    }
  }

  /**
   * Add the server's summary of the past; fields that are not tracked are left out.
   *
   * @param {{from: string, until: string, bucket_seconds: number, series: object[]}} backfill as received
   */
  fill(backfill) {
    const fromMs = Date.parse(backfill.from);
    const untilMs = Date.parse(backfill.until);
    const bucketMs = backfill.bucket_seconds * 1000;
    if (!(bucketMs > 0) || Number.isNaN(fromMs) || Number.isNaN(untilMs)) return;
    for (const { metric_type: metricType, source, agent_id: agentId = null, field, ...columns } of backfill.series) {
      if (!columns.buckets.length || !this.#tracks.get(metricType)?.has(field)) continue;
      const series = this.#findOrCreateSeries({ metricType, source, agentId, path: field });
      series.agentName ??= agentId;
      // The last of several percentiles does not represent the others.
      series.fill({ ...columns, last: columns.percentile ?? columns.last, fromMs, untilMs, bucketMs });
      series.isWorst = columns.is_worst ?? false;
      series.unit = columns.unit ?? series.unit;
      series.windowSeconds = columns.window_seconds ?? series.windowSeconds;
      series.receivedAtMs = Math.max(series.receivedAtMs, series.lastTimeMs);
      this.firstMs = Math.min(this.firstMs ?? Infinity, series.times[0]);
      this.#versions.set(metricType, this.version(metricType) + 1);
    }
  }

  /** End all lines of these types: metrics are missing before the next ones. @param {string[]} metricTypes */
  break(metricTypes) {
    for (const series of this.#series.values()) if (metricTypes.includes(series.metricType)) series.break();
  }

  /** Keep a longer window from now on. @param {number} windowMs */
  widen(windowMs) {
    for (const paths of this.#tracks.values()) {
      for (const [path, trackMs] of paths) paths.set(path, Math.max(trackMs, windowMs));
    }
    for (const series of [...this.#series.values(), ...this.#sketches.values()]) {
      series.windowMs = Math.max(series.windowMs, windowMs);
    }
  }

  /**
   * Forget sources, agents and series that have been silent for longer than the window, while others continue.
   *
   * @param {number} nowMs
   */
  trim(nowMs) {
    for (const series of [...this.#series.values(), ...this.#sketches.values()]) series.trim(nowMs);
    for (const [metricType, sources] of this.#latest) {
      const windows = [...(this.#tracks.get(metricType)?.values() ?? [])];
      const oldestMs = (this.newest(metricType)?.receivedAtMs ?? nowMs) - Math.max(120_000, ...windows);
      for (const [source, { receivedAtMs, entries }] of sources) {
        if (receivedAtMs < oldestMs) sources.delete(source);
        for (const [agentId, latest] of entries) if (latest.receivedAtMs < oldestMs) entries.delete(agentId);
      }
      for (const [key, series] of this.#series) {
        if (series.metricType === metricType && series.receivedAtMs < oldestMs && this.#series.delete(key)) {
          this.#sorted.clear();
        }
      }
      for (const [key, series] of this.#sketches) {
        if (series.metricType === metricType && series.receivedAtMs < oldestMs) this.#sketches.delete(key);
      }
    }
  }

  /** @param {string} [metricType] one type, or all @returns {string[]} sources in alphabetical order */
  sources(metricType) {
    const types = metricType === undefined ? [...this.#latest.keys()] : [metricType];
    const names = new Set(types.flatMap((slug) => [...(this.#latest.get(slug)?.keys() ?? [])]));
    return [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  }

  /**
   * Return the newest data of each source, and of each agent where the type has entries.
   *
   * @param {string} metricType
   * @param {string | null} [source] only this one
   * @returns {Latest[]} by source, then by agent id
   */
  latest(metricType, source = null) {
    const found = [];
    for (const name of source === null ? this.sources(metricType) : [source]) {
      const entries = [...(this.#latest.get(metricType)?.get(name)?.entries.values() ?? [])];
      entries.sort((a, b) => (a.agentId ?? "").localeCompare(b.agentId ?? "", "en", { numeric: true }));
      found.push(...entries);
    }
    return found;
  }

  /**
   * Return the series of a path.
   *
   * @param {string} metricType
   * @param {string} path
   * @param {string | null} [source] only this one
   * @returns {Series[]} by source, then by agent id
   */
  series(metricType, path, source = null) {
    const key = `${metricType}\u0000${path}`;
    let sorted = this.#sorted.get(key);
    if (!sorted) {
      const text = (series) => `${series.source}\u0000${series.agentId ?? ""}`;
      sorted = [...this.#series.values()]
        .filter((series) => series.metricType === metricType && series.path === path)
        .sort((a, b) => text(a).localeCompare(text(b), "en", { numeric: true }));
      this.#sorted.set(key, sorted);
    }
    return source === null ? sorted : sorted.filter((series) => series.source === source);
  }

  /**
   * Return the sketches of a path over time.
   *
   * @param {string} metricType
   * @param {string} path
   * @param {string | null} [source] only this one
   * @returns {SketchSeries[]}
   */
  sketches(metricType, path, source = null) {
    return [...this.#sketches.values()].filter(
      (series) =>
        series.metricType === metricType && series.path === path && (source === null || series.source === source),
    );
  }

  #updateLatest({ metricType, source, agentId, entry, timestampMs, receivedAtMs }) {
    if (!this.#latest.has(metricType)) this.#latest.set(metricType, new Map());
    const sources = this.#latest.get(metricType);
    if (!sources.has(source)) {
      if (sources.size >= MAX_SOURCES) forgetOldest(sources);
      sources.set(source, { receivedAtMs, entries: new Map() });
    }
    const known = sources.get(source);
    known.receivedAtMs = Math.max(known.receivedAtMs, receivedAtMs);
    const key = agentId ?? "";
    let latest = known.entries.get(key);
    if (!latest) {
      if (known.entries.size >= MAX_ENTRIES) forgetOldest(known.entries);
      latest = { source, agentId, data: {}, units: {}, windows: {}, timestampMs: -Infinity, receivedAtMs };
      known.entries.set(key, latest);
    }
    latest.receivedAtMs = Math.max(latest.receivedAtMs, receivedAtMs);
    const drawnMs = timestampMs > receivedAtMs + TOLERATED_AHEAD_MS ? receivedAtMs : timestampMs;
    latest.drawnMs = drawnMs;
    this.firstMs = Math.min(this.firstMs ?? drawnMs, drawnMs);
    latest.fresh = entry;
    if (drawnMs >= latest.timestampMs) {
      latest.timestampMs = drawnMs;
      // Producers may send some fields now and others later; all of them count as the newest.
      latest.data = mergeKeys(latest.data, entry);
    }
    return latest;
  }

  #addToSeries(metricType, latest) {
    for (const path of this.#tracks.get(metricType)?.keys() ?? []) {
      const value = lookUp(latest.fresh, path);
      if (value !== null && typeof value === "object") this.#addSketch(metricType, latest, path, decodeSketch(value));
      if (value !== null && typeof value !== "number") continue;
      const series = this.#findOrCreateSeries({ metricType, source: latest.source, agentId: latest.agentId, path });
      series.agentName = latest.data.agent_name ?? latest.agentId;
      series.unit = latest.units[path] ?? series.unit;
      series.windowSeconds = latest.windows[path] ?? series.windowSeconds;
      series.receivedAtMs = Math.max(series.receivedAtMs, latest.receivedAtMs);
      series.add(latest.drawnMs, value ?? NaN);
    }
  }

  #addSketch(metricType, { source, agentId, drawnMs, receivedAtMs }, path, sketch) {
    if (sketch === null) return;
    const key = [metricType, source, agentId ?? "", path].join("\u0000");
    let series = this.#sketches.get(key);
    if (!series) {
      if (this.#sketches.size >= MAX_SKETCH_SERIES) forgetOldest(this.#sketches);
      series = new SketchSeries({ metricType, source, agentId, path }, this.#tracks.get(metricType).get(path));
      this.#sketches.set(key, series);
    }
    series.receivedAtMs = Math.max(series.receivedAtMs, receivedAtMs);
    series.add(drawnMs, sketch);
  }

  /** Return the series of an identity; create it where it does not exist. */
  #findOrCreateSeries(identity) {
    const { metricType, source, agentId, path } = identity;
    const key = [metricType, source, agentId ?? "", path].join("\u0000");
    let series = this.#series.get(key);
    if (!series) {
      if (this.#series.size >= MAX_SERIES) forgetOldest(this.#series);
      series = new Series(identity, this.#tracks.get(metricType).get(path));
      this.#series.set(key, series);
      this.#sorted.clear();
    }
    return series;
  }
}

/** Return both objects as one, or the newer one alone where that would have too many keys. */
function mergeKeys(older, newer) {
  if (newer === undefined) return older;
  const merged = { ...older, ...newer };
  return Object.keys(merged).length > MAX_KEYS ? newer : merged;
}

/** @param {Map<string, {receivedAtMs: number}>} items */
function forgetOldest(items) {
  let oldest = null;
  for (const [key, item] of items) {
    if (oldest === null || item.receivedAtMs < items.get(oldest).receivedAtMs) oldest = key;
  }
  items.delete(oldest);
}
