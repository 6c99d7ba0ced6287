// Agent ids, rows, sources and fields of received metrics, for suggestions.

import { isOfOneSource } from "../../client/keys.js";

/** Names kept of each sort: a test with thousands of agents must not fill the page with suggestions. */
const MAX_NAMES = 200;

export class KnownNames {
  constructor() {
    this.agent_ids = new Set();
    /** Parts of the keys of rows, such as `name=/users`. */
    this.keys = new Set();
    this.sources = new Set();
    /** @type {Map<string, Set<string>>} metric type → fields */
    this.fields = new Map();
    /** Grows with each new name. */
    this.version = 0;
  }

  /** @param {object} metric */
  add(metric) {
    const { metric_type: metricType, source, data, key = [] } = metric ?? {};
    if (typeof source === "string" && source) this.#addName(this.sources, source);
    if (data === null || typeof data !== "object" || typeof metricType !== "string") return;
    if (!this.fields.has(metricType)) this.fields.set(metricType, new Set());
    const fields = this.fields.get(metricType);
    for (const entry of Array.isArray(data) ? data : [data]) {
      if (entry === null || typeof entry !== "object") continue;
      if (Array.isArray(data) && entry.agent_id !== undefined) this.#addName(this.agent_ids, String(entry.agent_id));
      if (!isOfOneSource(key)) this.#addParts(entry, key);
      for (const name of Object.keys(entry)) this.#addName(fields, name);
    }
  }

  #addParts(entry, key) {
    for (const part of key) {
      if (typeof entry[part] === "string" && entry[part] !== "") this.#addName(this.keys, `${part}=${entry[part]}`);
    }
  }

  #addName(terms, term) {
    // Names with a comma or a line break cannot be typed: the fields split there.
    if (terms.size >= MAX_NAMES || terms.has(term) || /[,\n]/.test(term)) return;
    terms.add(term);
    this.version += 1;
  }
}
