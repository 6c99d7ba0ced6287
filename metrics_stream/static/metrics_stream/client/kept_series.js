// The series that a page keeps. Beyond the bound silent ones are forgotten, those of the worst rows and of preferred rows
// are kept, and the others are only counted.

import { MAX_COUNTED, SEARCH_MS, SILENT_MS } from "./entries.js";
import { USUAL } from "./levels.js";
import { compareNames } from "./names.js";
import { Series } from "./series.js";

/** 1,000 agents with eight numbers each. */
export const MAX_SERIES = 8_192;

/** One field of one metric type leaves room for others, however many rows there are. */
const MAX_OF_FIELD = MAX_SERIES / 2;

/** @typedef {{metricType: string, source: string, row: string | null, path: string}} Identity of a series */

export class KeptSeries {
  /** @type {Map<string, Series>} */
  #series = new Map();
  /** @type {Map<string, Series[]>} metric type and path → series in order; emptied when a series comes or goes */
  #sorted = new Map();
  /** @type {Map<string, number>} metric type and path → how many series there are */
  #counts = new Map();
  /** @type {Map<string, Set<string>>} metric type and path → the series without a place */
  #leftOut = new Map();
  /** @type {Map<string, Set<string>>} metric type and path → the rows whose series have a place before others */
  #preferred = new Map();
  #searchedAtMs = -Infinity;

  get size() {
    return this.#series.size;
  }

  /** @returns {Iterable<Series>} */
  values() {
    return this.#series.values();
  }

  /** @param {Identity} identity @returns {Series | null} */
  find(identity) {
    return this.#series.get(keyOf(identity)) ?? null;
  }

  /** @param {string} metricType @param {string} path @returns {Series[]} by source, then by row */
  list(metricType, path) {
    const place = placeOf({ metricType, path });
    let sorted = this.#sorted.get(place);
    if (!sorted) {
      sorted = [...this.#series.values()]
        .filter((series) => series.metricType === metricType && series.path === path)
        .sort((a, b) => compareNames(a.source, b.source) || compareNames(a.row ?? "", b.row ?? ""));
      this.#sorted.set(place, sorted);
    }
    return sorted;
  }

  /** Keep the series of these rows rather than those of others. @param {Set<string>} rows */
  prefer(metricType, path, rows) {
    this.#preferred.set(placeOf({ metricType, path }), rows);
  }

  /**
   * Return the series of an identity; create it where it does not exist.
   *
   * @param {Identity} identity
   * @param {{windowMs: number, nowMs: number, severity?: number}} options `windowMs` is how far back the page shows
   * @returns {Series | null} null if there is no place for it
   */
  findOrCreate(identity, { windowMs, nowMs, severity = USUAL }) {
    const key = keyOf(identity);
    let series = this.#series.get(key);
    if (!series) {
      if (this.#isFull(identity) && !this.#makeRoom(identity, nowMs, severity)) {
        this.leaveOut(identity);
        return null;
      }
      this.bringIn(identity);
      series = new Series(identity, windowMs);
      this.#series.set(key, series);
      this.#count(series, 1);
    }
    return series;
  }

  /** Forget the series of a metric type that have been silent since `oldestMs`. */
  trim(metricType, oldestMs) {
    for (const [key, series] of this.#series) {
      if (series.metricType !== metricType || series.receivedAtMs >= oldestMs) continue;
      this.#delete(key);
      // There is room again: whoever is still there gets it.
      this.#leftOut.clear();
    }
  }

  /** @param {string} metricType @param {string} path @returns {number} how many of its series have no place */
  leftOutCount(metricType, path) {
    return this.#leftOut.get(placeOf({ metricType, path }))?.size ?? 0;
  }

  /** Count a series that has no place. @param {Identity} identity */
  leaveOut(identity) {
    const place = placeOf(identity);
    if (!this.#leftOut.has(place)) this.#leftOut.set(place, new Set());
    const keys = this.#leftOut.get(place);
    if (keys.size < MAX_COUNTED) keys.add(keyOf(identity));
  }

  /** Stop counting a series, which has a place now. @param {Identity} identity */
  bringIn(identity) {
    this.#leftOut.get(placeOf(identity))?.delete(keyOf(identity));
  }

  #isFull(identity) {
    return this.#series.size >= MAX_SERIES || (this.#counts.get(placeOf(identity)) ?? 0) >= MAX_OF_FIELD;
  }

  /** Return whether there is a place for one more series, after taking that of a better, other or silent one. */
  #makeRoom(identity, nowMs, severity) {
    const place = placeOf(identity);
    const isOfField = (series) => placeOf(series) === place;
    const preferred = this.#preferred.get(place);
    // Of the same field, or two fields would take turns.
    if (preferred?.has(identity.row) && this.#replace((each) => isOfField(each) && !preferred.has(each.row))) return true;
    const isFieldFull = this.#series.size < MAX_SERIES;
    const isBetter = (each) => each.severity > severity && (isOfField(each) || !isFieldFull);
    if (severity < USUAL && this.#replace(isBetter)) return true;
    // There are few sources, and much depends on them.
    if (identity.row === null && !isFieldFull && this.#replace(({ row }) => row !== null)) return true;
    if (nowMs - this.#searchedAtMs < SEARCH_MS) return false;
    const oldest = oldestOf(this.#series);
    if (nowMs - this.#series.get(oldest).receivedAtMs > SILENT_MS) {
      this.#delete(oldest);
      return !this.#isFull(identity);
    }
    this.#searchedAtMs = nowMs;
    return false;
  }

  #delete(key) {
    this.#count(this.#series.get(key), -1);
    this.#series.delete(key);
  }

  #count(series, step) {
    const place = placeOf(series);
    this.#counts.set(place, (this.#counts.get(place) ?? 0) + step);
    this.#sorted.clear();
  }

  #replace(isReplaceable) {
    for (const [key, series] of this.#series) {
      if (!isReplaceable(series)) continue;
      this.leaveOut(series);
      this.#delete(key);
      return true;
    }
    return false;
  }
}

/** @param {Map<string, {receivedAtMs: number}>} items @returns {string} the key of the longest silent one */
export function oldestOf(items) {
  let oldest = null;
  for (const [key, item] of items) {
    if (oldest === null || item.receivedAtMs < items.get(oldest).receivedAtMs) oldest = key;
  }
  return oldest;
}

/** @param {Identity} identity @returns {string} */
export function keyOf({ metricType, source, row, path }) {
  return `${metricType}\u0000${source}\u0000${row ?? ""}\u0000${path}`;
}

const placeOf = ({ metricType, path }) => `${metricType}\u0000${path}`;
