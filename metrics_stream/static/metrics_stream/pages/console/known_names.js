// Agent ids, sources and fields of received metrics, for suggestions.

/** Names kept of each sort: a test with thousands of agents must not fill the page with suggestions. */
const MAX_NAMES = 200;

export class KnownNames {
  constructor() {
    this.agent_ids = new Set();
    this.sources = new Set();
    /** @type {Map<string, Set<string>>} metric type → fields */
    this.fields = new Map();
    /** Grows with each new name. */
    this.version = 0;
  }

  /** @param {object} metric */
  add(metric) {
    const { metric_type: metricType, source, data } = metric ?? {};
    if (typeof source === "string" && source) this.#addName(this.sources, source);
    if (data === null || typeof data !== "object" || typeof metricType !== "string") return;
    if (!this.fields.has(metricType)) this.fields.set(metricType, new Set());
    const fields = this.fields.get(metricType);
    for (const entry of Array.isArray(data) ? data : [data]) {
      if (entry === null || typeof entry !== "object") continue;
      if (Array.isArray(data) && entry.agent_id !== undefined) this.#addName(this.agent_ids, String(entry.agent_id));
      for (const key of Object.keys(entry)) this.#addName(fields, key);
    }
  }

  #addName(terms, term) {
    // Names with a comma or a line break cannot be typed: the fields split there.
    if (terms.size >= MAX_NAMES || terms.has(term) || /[,\n]/.test(term)) return;
    terms.add(term);
    this.version += 1;
  }
}
