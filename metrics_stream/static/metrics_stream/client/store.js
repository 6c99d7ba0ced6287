// The metrics that a page keeps: series of numbers for charts, and the newest data for everything else. All of it is
// bounded in time and in count, so that a page that stays open for a day does not grow.

import { SHORTEST_GAP_MS } from "./buckets.js";
import { Entries, SILENT_MS, TOLERATED_AHEAD_MS } from "./entries.js";
import { KeptSeries, keyOf, oldestOf } from "./kept_series.js";
import { AGENT_KEY, labelOfRow, rowOf, rowOfItem } from "./keys.js";
import { compareNames } from "./names.js";
import { lookUp } from "./path.js";
import { decodeSketch } from "./sketch.js";
import { SketchSeries } from "./sketch_series.js";
import { statedFor, statedUnit } from "./units.js";
import { SourceClocks } from "./source_clocks.js";
import { isAmong } from "./source_filter.js";

/** A sketch takes as much memory as a hundred numbers. */
const MAX_SKETCH_SERIES = 32;

/**
 * @typedef {object} Track a number to keep over time
 * @property {string} metricType
 * @property {string} path
 * @property {number} windowSeconds
 * @property {boolean} [isDrawn] false: only note when a value came
 */

export class Store {
  /** @type {Map<string, Map<string, number>>} metric type → path → window in milliseconds */
  #tracks = new Map();
  #series = new KeptSeries();
  /** @type {Map<string, SketchSeries>} */
  #sketches = new Map();
  /** @type {Map<string, Entries>} by metric type */
  #entries = new Map();
  /** @type {Map<string, Map<string, Map<string, number>>>} metric type → path → source → when a value came */
  #heard = new Map();
  #versions = new Map();
  #newest = new Map();

  /** @param {Track[]} tracks */
  constructor(tracks) {
    /** @type {number | null} time of the first metric in milliseconds; charts begin there */
    this.firstMs = null;
    this.clocks = new SourceClocks();
    /** Whether a producer has stated over which time its values were measured. */
    this.hasWindows = false;
    for (const { metricType, path, windowSeconds, isDrawn = true } of tracks) {
      if (!this.#heard.has(metricType)) this.#heard.set(metricType, new Map());
      this.#heard.get(metricType).set(path, new Map());
      if (!isDrawn) continue;
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
   * @param {{metric_type: string, timestamp: string, source?: string, data: object | object[], key?: string[],
   *   units?: Record<string, string>, windows?: Record<string, number>}} metric
   * @param {number} nowMs server-corrected time of arrival in milliseconds; Infinity for a metric of the past
   * @param {number} [sinceMs] since when it may have waited at the server; a timestamp after that counts as its receipt
   */
  add(metric, nowMs, sinceMs = nowMs) {
    const data = metric?.data;
    if (data === null || typeof data !== "object" || typeof metric.metric_type !== "string") return;
    const parsedMs = Date.parse(metric.timestamp);
    const timestampMs = (Number.isNaN(parsedMs) ? nowMs : parsedMs) - this.clocks.note(metric);
    if (timestampMs === Infinity) return;
    const receivedAtMs = Math.min(nowMs, Math.max(sinceMs, timestampMs));
    const metricType = metric.metric_type;
    const source = String(metric.source ?? "");
    const entries = Array.isArray(data) ? data : [data];
    const key = Array.isArray(data) ? (metric.key ?? AGENT_KEY) : null;
    const { units = null, windows = null } = metric;
    const origin = { source, key, timestampMs, receivedAtMs, units, windows };
    this.hasWindows ||= windows !== null;
    if (!this.#entries.has(metricType)) this.#entries.set(metricType, new Entries());
    const kept = this.#entries.get(metricType);
    const added = [];
    for (const entry of entries) {
      if (entry === null || typeof entry !== "object") continue;
      const latest = kept.add(entry, key === null ? null : rowOf(entry, key), origin);
      if (latest !== null) added.push(latest);
    }
    if (added.length > 0) {
      const { drawnMs } = added[0];
      this.firstMs = Math.min(this.firstMs ?? drawnMs, drawnMs);
      this.#addToSeries(metricType, source, added);
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
    for (const { metric_type: metricType, source, field, ...columns } of backfill.series) {
      if (!columns.buckets.length || !this.#tracks.get(metricType)?.has(field)) continue;
      const row = rowOfItem(columns);
      const series = this.#findOrCreateSeries({ metricType, source, row, path: field }, untilMs);
      if (series === null) continue;
      series.label ??= row === null ? null : labelOfRow(row);
      // The last of several percentiles does not represent the others.
      series.fill({ ...columns, last: columns.percentile ?? columns.last, fromMs, untilMs, bucketMs });
      series.isWorst = columns.is_worst ?? false;
      series.unit = columns.unit ?? series.unit;
      series.windowSeconds = columns.window_seconds ?? series.windowSeconds;
      this.hasWindows ||= series.windowSeconds !== null;
      series.receivedAtMs = Math.max(series.receivedAtMs, series.lastTimeMs);
      this.#hear(this.#heard.get(metricType).get(field), source, series.receivedAtMs);
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
   * Forget sources, rows and series that have been silent for longer than the window, while others continue.
   *
   * @param {number} nowMs
   */
  trim(nowMs) {
    for (const series of [...this.#series.values(), ...this.#sketches.values()]) series.trim(nowMs);
    for (const [metricType, entries] of this.#entries) {
      const windows = [...(this.#tracks.get(metricType)?.values() ?? [])];
      const oldestMs = (this.newest(metricType)?.receivedAtMs ?? nowMs) - Math.max(120_000, ...windows);
      entries.trim(oldestMs);
      for (const heard of this.#heard.get(metricType)?.values() ?? []) {
        for (const [source, atMs] of heard) if (atMs < oldestMs) heard.delete(source);
      }
      this.#series.trim(metricType, oldestMs);
      for (const [key, series] of this.#sketches) {
        if (series.metricType === metricType && series.receivedAtMs < oldestMs) this.#sketches.delete(key);
      }
    }
  }

  /** @param {string} [metricType] one type, or all @returns {string[]} sources in alphabetical order */
  sources(metricType) {
    const types = metricType === undefined ? [...this.#entries.keys()] : [metricType];
    const names = new Set(types.flatMap((slug) => this.#entries.get(slug)?.sources ?? []));
    return [...names].sort(compareNames);
  }

  /**
   * Return the newest data of each source, and of each of its rows where the type has a key.
   *
   * @param {string} metricType
   * @param {Sources} [source] only of these
   * @returns {Latest[]} by source, then by row
   */
  latest(metricType, source = null) {
    return this.#entries.get(metricType)?.latest(source) ?? [];
  }

  /**
   * Return the states of entries that are only counted, because there are too many.
   *
   * @param {string} metricType
   * @param {Sources} source only of these
   * @param {number} oldestMs those heard of since then
   * @returns {unknown[]} the word of each
   */
  countedWords(metricType, source, oldestMs) {
    return this.#entries.get(metricType)?.countedWords(source, oldestMs) ?? [];
  }

  /**
   * Return when a value of a field came last.
   *
   * @param {string} metricType
   * @param {string} path of a track
   * @param {Sources} [source] only of these
   * @returns {number | null} null if none ever did
   */
  heardMs(metricType, path, source = null) {
    const heard = this.#heard.get(metricType)?.get(path);
    if (heard === undefined || heard.size === 0) return null;
    const times = [...heard].filter(([name]) => isAmong(source, name)).map(([, atMs]) => atMs);
    return times.length === 0 ? null : Math.max(...times);
  }

  /** @param {string} metricType @param {string} path @returns {number} how many of its series have no place */
  leftOutCount(metricType, path) {
    return this.#series.leftOutCount(metricType, path);
  }

  /**
   * Return the series of a path.
   *
   * @param {string} metricType
   * @param {string} path
   * @param {Sources} [source] only of these
   * @returns {Series[]} by source, then by row
   */
  series(metricType, path, source = null) {
    const sorted = this.#series.list(metricType, path);
    return source === null ? sorted : sorted.filter((series) => isAmong(source, series.source));
  }

  /** @param {Identity} identity @returns {Series | null} */
  find(identity) {
    return this.#series.find(identity);
  }

  /**
   * Keep the series of these rows where there is no place for all.
   *
   * @param {string} metricType
   * @param {string} path
   * @param {Set<string>} rows
   */
  prefer(metricType, path, rows) {
    this.#series.prefer(metricType, path, rows);
  }

  /**
   * Return the sketches of a path over time.
   *
   * @param {string} metricType
   * @param {string} path
   * @param {Sources} [source] only of these
   * @returns {SketchSeries[]}
   */
  sketches(metricType, path, source = null) {
    return [...this.#sketches.values()].filter(
      (series) =>
        series.metricType === metricType && series.path === path && isAmong(source, series.source),
    );
  }

  /** Add what the rows of one metric have of the tracked fields. @param {Latest[]} added */
  #addToSeries(metricType, source, added) {
    const tracks = this.#tracks.get(metricType);
    const { receivedAtMs } = added[0];
    for (const [path, heard] of this.#heard.get(metricType) ?? []) {
      const has = ({ fresh }) => lookUp(fresh, path) !== undefined;
      if (added.some(has)) this.#hear(heard, source, receivedAtMs);
      if (tracks?.has(path)) for (const latest of added) this.#addValue(metricType, latest, path);
    }
  }

  #addValue(metricType, latest, path) {
    const value = lookUp(latest.fresh, path);
    if (value === undefined) return;
    if (value !== null && typeof value === "object") this.#addSketch(metricType, latest, path, decodeSketch(value));
    if (value !== null && typeof value !== "number") return;
    const { source, row, severity, receivedAtMs } = latest;
    const series = this.#findOrCreateSeries({ metricType, source, row, path }, receivedAtMs, severity);
    if (series === null) return;
    series.severity = severity;
    series.label = latest.data.agent_name ?? series.label ?? (row === null ? null : labelOfRow(row));
    series.receivedAtMs = Math.max(series.receivedAtMs, receivedAtMs);
    series.unit = statedUnit(latest.units, path) || series.unit;
    series.windowSeconds = statedFor(latest.windows, path) ?? series.windowSeconds;
    series.add(latest.drawnMs, value ?? NaN);
  }

  #hear(heard, source, atMs) {
    heard.set(source, Math.max(heard.get(source) ?? -Infinity, atMs));
  }

  #addSketch(metricType, { source, row, drawnMs, receivedAtMs, units }, path, sketch) {
    if (sketch === null) return;
    const identity = { metricType, source, row, path };
    const key = keyOf(identity);
    let series = this.#sketches.get(key);
    if (!series) {
      if (this.#sketches.size >= MAX_SKETCH_SERIES) {
        const oldest = oldestOf(this.#sketches);
        if (receivedAtMs - this.#sketches.get(oldest).receivedAtMs <= SILENT_MS) {
          this.#series.leaveOut(identity);
          return;
        }
        this.#sketches.delete(oldest);
      }
      this.#series.bringIn(identity);
      series = new SketchSeries(identity, this.#tracks.get(metricType).get(path));
      this.#sketches.set(key, series);
    }
    series.receivedAtMs = Math.max(series.receivedAtMs, receivedAtMs);
    // A producer names a sketch as its percentiles, without the object that holds the sketches.
    const name = path.replace(/(^|\.)sketches\./, "$1");
    series.unit = statedUnit(units, path) || statedUnit(units, name) || series.unit;
    series.add(drawnMs, sketch);
  }

  #findOrCreateSeries(identity, nowMs, severity) {
    const windowMs = this.#tracks.get(identity.metricType).get(identity.path);
    return this.#series.findOrCreate(identity, { windowMs, nowMs, severity });
  }
}
