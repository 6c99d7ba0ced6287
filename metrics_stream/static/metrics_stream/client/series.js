// What a page remembers of the metrics it got: columns of numbers for charts, the newest data for everything else.
// Room: client; pure. Everything is bounded by time and by number, so a page left open for a day does not grow.

/** Points of one series at most; a 4K screen shows no more columns than this. Denser points are merged. */
export const MAX_POINTS = 4096;

/** Bounds on names that producers make up. Past them, what has been silent longest is forgotten. */
export const MAX_SERIES = 1024;
export const MAX_SOURCES = 32;
export const MAX_ENTRIES = 256;
const MAX_KEYS = 512;

/** A timestamp further ahead than this comes from a wrong clock; it is drawn at now instead of off the chart. */
const TOLERATED_AHEAD_MS = 2_000;

/** Fewer points than this say nothing about the usual spacing. */
const SPACING_SAMPLES = 32;

/** A pause shorter than this is never a gap, whatever the usual spacing. */
export const SHORTEST_GAP_MS = 3_000;

/**
 * Return the value at a dotted path, or undefined.
 *
 * @param {unknown} data
 * @param {string} path "cost_efficiency.cost_per_transaction"
 */
export function lookUp(data, path) {
  let value = data;
  for (const key of path.split(".")) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

/** One row of numbers over time: two columns, oldest first, without anything older than the window. */
export class Series {
  #times = new Float64Array(64);
  #values = new Float64Array(64);
  #start = 0;
  #end = 0;

  /**
   * @param {{metricType: string, source: string, agentId: string | null, path: string}} identity
   * @param {number} windowMs how far back anyone looks
   */
  constructor(identity, windowMs) {
    Object.assign(this, identity);
    /** @type {string | null} the name of the agent, as last seen */
    this.agentName = null;
    this.windowMs = windowMs;
    this.lastTimeMs = -Infinity;
    this.lastValue = NaN;
    this.receivedAtMs = -Infinity;
  }

  get length() {
    return this.#end - this.#start;
  }

  /** @returns {number} numbers for which memory is held, for tests */
  get capacity() {
    return this.#times.length;
  }

  /** @returns {Float64Array} times in milliseconds; a view that the next add() may change */
  get times() {
    return this.#times.subarray(this.#start, this.#end);
  }

  /** @returns {Float64Array} values, NaN where the producer sent null; a view that the next add() may change */
  get values() {
    return this.#values.subarray(this.#start, this.#end);
  }

  /**
   * @param {number} timeMs
   * @param {number} value NaN for nothing
   */
  add(timeMs, value) {
    if (timeMs < this.lastTimeMs - this.windowMs) return;
    if (timeMs >= this.lastTimeMs) {
      this.lastTimeMs = timeMs;
      this.lastValue = value;
    }
    const newestMs = this.length ? this.#times[this.#end - 1] : -Infinity;
    if (timeMs < newestMs) this.#insert(timeMs, value);
    else if (timeMs - newestMs < this.windowMs / MAX_POINTS) this.#merge(this.#end - 1, value);
    else this.#append(timeMs, value);
    this.trim(this.lastTimeMs);
  }

  /**
   * Forget what is older than the window, but keep one point before it, from which the line enters the chart.
   *
   * @param {number} nowMs
   */
  trim(nowMs) {
    const oldestMs = nowMs - this.windowMs;
    while (this.length > 1 && this.#times[this.#start + 1] < oldestMs) this.#start += 1;
    while (this.length > MAX_POINTS) this.#start += 1;
  }

  /** @returns {number} the median of recent spacings in milliseconds; 0 while there are too few points */
  usualSpacingMs() {
    const times = this.times;
    const count = Math.min(times.length - 1, SPACING_SAMPLES);
    if (count < 3) return 0;
    const spacings = [];
    for (let index = times.length - count; index < times.length; index += 1) {
      spacings.push(times[index] - times[index - 1]);
    }
    spacings.sort((a, b) => a - b);
    return spacings[count >> 1];
  }

  /** @returns {number} a pause longer than this, in milliseconds, is a gap */
  gapMs() {
    return Math.max(3 * this.usualSpacingMs(), SHORTEST_GAP_MS);
  }

  #append(timeMs, value) {
    if (this.#end === this.#times.length) this.#makeRoom();
    this.#times[this.#end] = timeMs;
    this.#values[this.#end] = value;
    this.#end += 1;
  }

  #merge(index, value) {
    // Of points too dense to be told apart the larger stays, so that a spike never vanishes.
    const kept = this.#values[index];
    this.#values[index] = Number.isNaN(kept) || Math.abs(value) > Math.abs(kept) ? value : kept;
  }

  #insert(timeMs, value) {
    let index = this.#end;
    while (index > this.#start && this.#times[index - 1] > timeMs) index -= 1;
    if (index > this.#start && timeMs - this.#times[index - 1] < this.windowMs / MAX_POINTS) {
      this.#merge(index - 1, value);
      return;
    }
    const offset = index - this.#start;
    this.#append(0, 0);
    index = this.#start + offset;
    this.#times.copyWithin(index + 1, index, this.#end - 1);
    this.#values.copyWithin(index + 1, index, this.#end - 1);
    this.#times[index] = timeMs;
    this.#values[index] = value;
  }

  #makeRoom() {
    const length = this.length;
    // Half of it free: move the rest to the front. Otherwise double; twice the most points is never exceeded.
    const grown = this.#start > this.#times.length / 2 ? this.#times.length : this.#times.length * 2;
    const move = (column) => {
      const target = grown === column.length ? column : new Float64Array(grown);
      target.set(column.subarray(this.#start, this.#end));
      return target;
    };
    this.#times = move(this.#times);
    this.#values = move(this.#values);
    this.#start = 0;
    this.#end = length;
  }
}

/**
 * @typedef {object} Track a number worth keeping over time
 * @property {string} metricType
 * @property {string} path
 * @property {number} windowSeconds
 *
 * @typedef {object} Latest the newest of one source, or of one entry (agent) of it
 * @property {string} source
 * @property {string | null} agentId
 * @property {object} data
 * @property {number} timestampMs
 * @property {number} receivedAtMs
 */

/** Everything one page knows. */
export class Store {
  /** @type {Map<string, Map<string, number>>} metric type → path → window in milliseconds */
  #tracks = new Map();
  /** @type {Map<string, Series>} */
  #series = new Map();
  /** @type {Map<string, Map<string, {receivedAtMs: number, entries: Map<string, Latest>}>>} */
  #latest = new Map();
  #versions = new Map();
  #newest = new Map();

  /** @param {Track[]} tracks */
  constructor(tracks) {
    /** @type {number | null} time of the first metric in milliseconds: before it there is nothing to draw */
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
   * Take in one metric as it came over the wire; anything that is no metric is ignored.
   *
   * @param {{metric_type: string, timestamp: string, source?: string, data: object | object[]}} metric
   * @param {number} nowMs server-corrected time of arrival in milliseconds
   */
  add(metric, nowMs) {
    const data = metric?.data;
    if (data === null || typeof data !== "object" || typeof metric.metric_type !== "string") return;
    const parsedMs = Date.parse(metric.timestamp);
    const timestampMs = Number.isNaN(parsedMs) ? nowMs : parsedMs;
    const metricType = metric.metric_type;
    const source = String(metric.source ?? "");
    const entries = Array.isArray(data) ? data : [data];
    for (const entry of entries) {
      if (entry === null || typeof entry !== "object") continue;
      const agentId = Array.isArray(data) ? String(entry.agent_id ?? "") : null;
      const latest = this.#remember({ metricType, source, agentId, entry, timestampMs, nowMs });
      this.#record(metricType, latest);
    }
    this.#versions.set(metricType, this.version(metricType) + 1);
    const newest = this.#newest.get(metricType);
    if (!newest || timestampMs >= newest.timestampMs || nowMs - newest.receivedAtMs > SHORTEST_GAP_MS) {
      this.#newest.set(metricType, { timestampMs, receivedAtMs: nowMs });
    } else {
      newest.receivedAtMs = nowMs;
    }
  }

  /**
   * Forget sources, agents and series that fell silent longer ago than anyone looks back, while others go on.
   *
   * @param {number} nowMs
   */
  trim(nowMs) {
    for (const series of this.#series.values()) series.trim(nowMs);
    for (const [metricType, sources] of this.#latest) {
      const windows = [...(this.#tracks.get(metricType)?.values() ?? [])];
      const oldestMs = (this.newest(metricType)?.receivedAtMs ?? nowMs) - Math.max(120_000, ...windows);
      for (const [source, { receivedAtMs, entries }] of sources) {
        if (receivedAtMs < oldestMs) sources.delete(source);
        for (const [agentId, latest] of entries) if (latest.receivedAtMs < oldestMs) entries.delete(agentId);
      }
      for (const [key, series] of this.#series) {
        if (series.metricType === metricType && series.receivedAtMs < oldestMs) this.#series.delete(key);
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
   * Return the newest of each source, and of each agent where the type has entries.
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
    const found = [];
    for (const series of this.#series.values()) {
      if (series.metricType !== metricType || series.path !== path) continue;
      if (source === null || series.source === source) found.push(series);
    }
    const text = (series) => `${series.source}\u0000${series.agentId ?? ""}`;
    return found.sort((a, b) => text(a).localeCompare(text(b), "en", { numeric: true }));
  }

  #remember({ metricType, source, agentId, entry, timestampMs, nowMs }) {
    if (!this.#latest.has(metricType)) this.#latest.set(metricType, new Map());
    const sources = this.#latest.get(metricType);
    if (!sources.has(source)) {
      if (sources.size >= MAX_SOURCES) forgetOldest(sources);
      sources.set(source, { receivedAtMs: nowMs, entries: new Map() });
    }
    const known = sources.get(source);
    known.receivedAtMs = nowMs;
    const key = agentId ?? "";
    let latest = known.entries.get(key);
    if (!latest) {
      if (known.entries.size >= MAX_ENTRIES) forgetOldest(known.entries);
      latest = { source, agentId, data: {}, timestampMs: -Infinity, receivedAtMs: nowMs };
      known.entries.set(key, latest);
    }
    latest.receivedAtMs = nowMs;
    const drawnMs = timestampMs > nowMs + TOLERATED_AHEAD_MS ? nowMs : timestampMs;
    latest.drawnMs = drawnMs;
    this.firstMs = Math.min(this.firstMs ?? drawnMs, drawnMs);
    latest.fresh = entry;
    if (timestampMs >= latest.timestampMs) {
      latest.timestampMs = timestampMs;
      // Producers may send some fields now and others later; both belong to the picture.
      latest.data = { ...latest.data, ...entry };
      if (Object.keys(latest.data).length > MAX_KEYS) latest.data = entry;
    }
    return latest;
  }

  #record(metricType, latest) {
    for (const [path, windowMs] of this.#tracks.get(metricType) ?? []) {
      const value = lookUp(latest.fresh, path);
      if (value !== null && typeof value !== "number") continue;
      const key = [metricType, latest.source, latest.agentId ?? "", path].join("\u0000");
      let series = this.#series.get(key);
      if (!series) {
        if (this.#series.size >= MAX_SERIES) forgetOldest(this.#series);
        series = new Series({ metricType, source: latest.source, agentId: latest.agentId, path }, windowMs);
        this.#series.set(key, series);
      }
      series.agentName = latest.data.agent_name ?? latest.agentId;
      series.receivedAtMs = latest.receivedAtMs;
      series.add(latest.drawnMs, value ?? NaN);
    }
  }
}

/** @param {Map<string, {receivedAtMs: number}>} items */
function forgetOldest(items) {
  let oldest = null;
  for (const [key, item] of items) {
    if (oldest === null || item.receivedAtMs < items.get(oldest).receivedAtMs) oldest = key;
  }
  items.delete(oldest);
}
