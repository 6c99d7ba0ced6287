// Judges whether a stress test itself is valid, by the rules of core/validity.py, which the page gets as data. Instants
// are in milliseconds.

/**
 * @typedef {object} Rule
 * @property {string} name
 * @property {string} field
 * @property {"at_least" | "below_share_of" | "rises"} comparison
 * @property {number} seconds
 * @property {number} threshold
 * @property {string} of
 * @property {string} words
 * @property {string} unit
 *
 * @typedef {object} Doubt a rule that holds for a source
 * @property {Rule} rule
 * @property {string} source
 * @property {number} beganMs
 * @property {number} value the newest value; of a counter by how much it rose
 */

export class Judge {
  /** @type {Map<string, Map<string, object>>} rule → source → state */
  #states = new Map();

  /** @param {{silent_seconds: number, rules: Rule[]}} config */
  constructor({ silent_seconds: silentSeconds, rules }) {
    this.rules = rules;
    this.silentMs = silentSeconds * 1000;
  }

  /**
   * Judge the data of one `system` metric.
   *
   * @param {string} source
   * @param {number} atMs its timestamp
   * @param {object} data
   * @param {number} [nowMs] when it came: the clock of the source may be wrong
   */
  observe(source, atMs, data, nowMs = atMs) {
    for (const rule of this.rules) {
      let value = data[rule.field];
      if (!Number.isFinite(value)) continue;
      if (rule.comparison === "below_share_of") {
        if (!(Number.isFinite(data[rule.of]) && data[rule.of] > 0)) continue;
        value /= data[rule.of];
      }
      const state = this.#stateOf(rule, source);
      if (atMs < state.seenMs || atMs - state.seenMs > this.silentMs) Object.assign(state, ended(), { counter: null });
      state.seenMs = atMs;
      state.cameMs = nowMs;
      if (rule.comparison === "rises") count(rule, state, atMs, value);
      else compare(rule, state, atMs, value);
    }
  }

  /** @param {number} nowMs @returns {Doubt[]} the doubts that hold, by rule and then by source */
  current(nowMs) {
    const found = [];
    for (const rule of this.rules) {
      for (const [source, state] of this.#states.get(rule.name) ?? []) {
        if (state.isDue && nowMs - state.cameMs <= this.silentMs)
          found.push({ rule, source, beganMs: state.beganMs, value: state.value });
      }
    }
    return found;
  }

  #stateOf(rule, source) {
    if (!this.#states.has(rule.name)) this.#states.set(rule.name, new Map());
    const sources = this.#states.get(rule.name);
    if (!sources.has(source)) {
      // Producers choose these names.
      if (sources.size >= MAX_SOURCES) sources.delete(sources.keys().next().value);
      sources.set(source, { ...ended(), seenMs: -Infinity, counter: null });
    }
    return sources.get(source);
  }
}

const MAX_SOURCES = 256;

function ended() {
  return { beganMs: null, heldMs: -Infinity, isDue: false, value: 0 };
}

function compare(rule, state, atMs, value) {
  const holds = rule.comparison === "below_share_of" ? value < rule.threshold : value >= rule.threshold;
  if (!holds) {
    Object.assign(state, ended());
    return;
  }
  state.beganMs ??= atMs;
  state.heldMs = atMs;
  state.value = value;
  state.isDue ||= atMs - state.beganMs >= rule.seconds * 1000;
}

function count(rule, state, atMs, value) {
  // A counter that falls belongs to a program that was started again.
  const risen = state.counter === null ? 0 : Math.max(0, value - state.counter);
  state.counter = value;
  if (risen > 0) {
    state.beganMs ??= atMs;
    state.heldMs = atMs;
    state.isDue = true;
    state.value += risen;
  } else if (state.beganMs !== null && atMs - state.heldMs > rule.seconds * 1000) {
    Object.assign(state, ended());
  }
}
