// Which sources a page or a panel shows.

/** @typedef {string | Set<string> | null} Sources one source, some of them, or all */

/**
 * @param {Sources} sources
 * @param {string} name
 * @returns {boolean} whether the source is one of them
 */
export function isAmong(sources, name) {
  if (sources === null) return true;
  return typeof sources === "string" ? sources === name : sources.has(name);
}

/** Tells which sources a panel shows that is about the sources of another metric type, too. */
export class SourceFilter {
  /** @type {Set<string>} */
  #known = new Set();

  /** @param {string | undefined} metricType the other type; without it the panel shows all sources */
  constructor(metricType) {
    this.metricType = metricType;
  }

  /**
   * @param {Store} store
   * @param {string | null} source the choice of the page
   * @returns {Sources} the same set until other sources publish the other type; all while none does
   */
  choose(store, source) {
    if (source !== null || this.metricType === undefined) return source;
    const names = store.sources(this.metricType);
    if (names.length === 0) return null;
    if (names.length !== this.#known.size || !names.every((name) => this.#known.has(name))) this.#known = new Set(names);
    return this.#known;
  }
}
