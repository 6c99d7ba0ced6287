// The newest data of the sources of one metric type, and of their rows where the type has a key: agents, requests. Beyond
// the bounds the worst are kept, and the others are only counted.

import { levelOfWord, severityOf, USUAL } from "./levels.js";
import { compareNames } from "./names.js";
import { isAmong } from "./source_filter.js";

/** Bounds on names that producers choose: more than a test has, and what a page still handles. */
export const MAX_SOURCES = 1_000;
export const MAX_ENTRIES = 25_000;
const MAX_KEYS = 8_192;

/** Of the entries and series without a place, so many are counted. */
export const MAX_COUNTED = 100_000;

/** A timestamp further ahead comes from a wrong clock; its metric is drawn at the current time, not off the chart. */
export const TOLERATED_AHEAD_MS = 2_000;

/** An entry or a series that has been silent for this long gives its place to any other one. */
export const SILENT_MS = 15_000;

/** How often silent ones are looked for while all places are taken. */
export const SEARCH_MS = 1_000;

/**
 * @typedef {object} Latest the newest data of one source, or of one of its rows
 * @property {string} source
 * @property {string | null} row the text of its key; null for a source as a whole
 * @property {string[] | null} key the names of the parts of its key
 * @property {object} data
 * @property {object} fresh what the newest metric had of it
 * @property {Record<string, string>} units what the producer states of its fields: units by path
 * @property {Record<string, number>} windows over how many seconds each was measured
 * @property {number} severity of its state: the worse, the lower
 * @property {number} timestampMs at most about the time of receipt
 * @property {number} drawnMs where the newest metric is drawn
 * @property {number} receivedAtMs
 */

/** Return both objects as one, or the newer one alone where it has all keys, or both would have too many. */
function mergeKeys(older, newer) {
  if (hasKeysOf(newer, older)) return newer;
  const merged = { ...older, ...newer };
  return Object.keys(merged).length > MAX_KEYS ? newer : merged;
}

function hasKeysOf(object, other) {
  for (const name in other) if (!Object.hasOwn(object, name)) return false;
  return true;
}

export class Entries {
  /** @type {Map<string, {receivedAtMs: number, entries: Map<string, Latest>}>} by source, then by row */
  #sources = new Map();
  #size = 0;
  /** @type {Map<string, {word: unknown, source: string, receivedAtMs: number}>} entries that are only counted */
  #counted = new Map();
  /** @type {Latest[] | null} in order; null after an entry has come or gone */
  #sorted = null;
  #searchedAtMs = -Infinity;

  /** @returns {string[]} */
  get sources() {
    return [...this.#sources.keys()];
  }

  /**
   * Take in one object of a metric.
   *
   * @param {object} entry
   * @param {string | null} row the text of its key; null for a source as a whole
   * @param {{source: string, key: string[] | null, timestampMs: number, receivedAtMs: number,
   *   units: Record<string, string> | null, windows: Record<string, number> | null}} origin
   * @returns {Latest | null} null if there is no place for it
   */
  add(entry, row, { source, key, timestampMs, receivedAtMs, units, windows }) {
    const known = this.#findOrCreateSource(source, receivedAtMs);
    known.receivedAtMs = Math.max(known.receivedAtMs, receivedAtMs);
    let latest = known.entries.get(row ?? "");
    const severity = severityOf(levelOfWord(entry.status ?? latest?.data.status));
    if (!latest) {
      if (this.#size >= MAX_ENTRIES && !this.#makeRoom(severity, receivedAtMs)) {
        this.#count(`${source}\u0000${row ?? ""}`, { word: entry.status, source, receivedAtMs });
        return null;
      }
      this.#counted.delete(`${source}\u0000${row ?? ""}`);
      latest = { source, row, key, data: {}, units: {}, windows: {}, timestampMs: -Infinity, receivedAtMs };
      known.entries.set(row ?? "", latest);
      this.#size += 1;
      this.#sorted = null;
    }
    latest.receivedAtMs = Math.max(latest.receivedAtMs, receivedAtMs);
    const drawnMs = timestampMs > receivedAtMs + TOLERATED_AHEAD_MS ? receivedAtMs : timestampMs;
    latest.drawnMs = drawnMs;
    latest.key = key;
    latest.fresh = entry;
    latest.severity = severity;
    if (units) latest.units = mergeKeys(latest.units, units);
    if (windows) latest.windows = mergeKeys(latest.windows, windows);
    if (drawnMs >= latest.timestampMs) {
      latest.timestampMs = drawnMs;
      // Producers may send some fields now and others later; all of them count as the newest.
      latest.data = mergeKeys(latest.data, entry);
    }
    return latest;
  }

  /** Forget sources and entries that have been silent since `oldestMs`. */
  trim(oldestMs) {
    for (const [source, { receivedAtMs, entries }] of this.#sources) {
      if (receivedAtMs < oldestMs) this.#removeSource(source);
      else for (const [key, latest] of entries) if (latest.receivedAtMs < oldestMs) this.#remove(source, key);
    }
    for (const [key, { receivedAtMs }] of this.#counted) if (receivedAtMs < oldestMs) this.#counted.delete(key);
  }

  /** @param {Sources} source only of these @returns {Latest[]} by source, then by row */
  latest(source) {
    this.#sorted ??= [...this.#sources.values()]
      .flatMap(({ entries }) => [...entries.values()])
      .sort((a, b) => compareNames(a.source, b.source) || compareNames(a.row ?? "", b.row ?? ""));
    return source === null ? this.#sorted : this.#sorted.filter((latest) => isAmong(source, latest.source));
  }

  /**
   * Return the states of the entries that are only counted.
   *
   * @param {Sources} source only of these
   * @param {number} oldestMs those heard of since then
   * @returns {unknown[]} the word of each
   */
  countedWords(source, oldestMs) {
    const words = [];
    for (const each of this.#counted.values()) {
      if (each.receivedAtMs >= oldestMs && isAmong(source, each.source)) words.push(each.word);
    }
    return words;
  }

  #findOrCreateSource(source, receivedAtMs) {
    let known = this.#sources.get(source);
    if (!known) {
      if (this.#sources.size >= MAX_SOURCES) {
        let oldest = null;
        for (const [name, each] of this.#sources) {
          if (oldest === null || each.receivedAtMs < this.#sources.get(oldest).receivedAtMs) oldest = name;
        }
        this.#removeSource(oldest);
      }
      known = { receivedAtMs, entries: new Map() };
      this.#sources.set(source, known);
    }
    return known;
  }

  /** Return whether there is a place for an entry in this state, after taking that of a silent or a better one. */
  #makeRoom(severity, nowMs) {
    if (severity >= USUAL && nowMs - this.#searchedAtMs < SEARCH_MS) return false;
    for (const [source, { entries }] of this.#sources) {
      for (const [key, latest] of entries) {
        const isBetter = severity < USUAL && latest.severity > severity;
        if (!isBetter && nowMs - latest.receivedAtMs <= SILENT_MS) continue;
        this.#remove(source, key);
        this.#count(`${source}\u0000${key}`, { word: latest.data.status, source, receivedAtMs: latest.receivedAtMs });
        return true;
      }
    }
    this.#searchedAtMs = nowMs;
    return false;
  }

  #count(key, state) {
    if (this.#counted.size < MAX_COUNTED || this.#counted.has(key)) this.#counted.set(key, state);
  }

  #remove(source, key) {
    this.#sources.get(source).entries.delete(key);
    this.#size -= 1;
    this.#sorted = null;
  }

  #removeSource(source) {
    this.#size -= this.#sources.get(source).entries.size;
    this.#sources.delete(source);
    this.#sorted = null;
  }
}
