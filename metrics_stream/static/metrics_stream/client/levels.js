// Levels: how good or bad a value or a state is.

/** @typedef {"none" | "good" | "warn" | "bad"} Level */

/**
 * Return the level of a value by the panel's thresholds.
 *
 * @param {number} value
 * @param {{warning_at: number | null, critical_at: number | null}} panel
 * @returns {"none" | "good" | "warn" | "bad"} none without thresholds or without a value
 */
export function levelOf(value, { warning_at: warningAt, critical_at: criticalAt }) {
  if (typeof value !== "number" || Number.isNaN(value)) return "none";
  if (warningAt === null && criticalAt === null) return "none";
  // With critical below warning, low values are bad; with one threshold alone, high values are.
  const lowIsBad = warningAt !== null && criticalAt !== null && criticalAt < warningAt;
  const reached = (limit) => limit !== null && (lowIsBad ? value <= limit : value >= limit);
  if (reached(criticalAt)) return "bad";
  return reached(warningAt) ? "warn" : "good";
}

/** Words that producers use for a state, and their levels. */
const LEVELS = new Map([
  ["healthy", "good"],
  ["ok", "good"],
  ["up", "good"],
  ["active", "good"],
  ["online", "good"],
  ["operational", "good"],
  ["running", "good"],
  ["degraded", "warn"],
  ["warning", "warn"],
  ["slow", "warn"],
  ["recovering", "warn"],
  ["unhealthy", "bad"],
  ["critical", "bad"],
  ["failed", "bad"],
  ["failing", "bad"],
  ["down", "bad"],
  ["offline", "bad"],
  ["error", "bad"],
]);

/**
 * Return the level of a word for a state.
 *
 * @param {unknown} word healthy, degraded, unhealthy and common synonyms
 * @returns {"none" | "good" | "warn" | "bad"}
 */
export function levelOfWord(word) {
  return LEVELS.get(String(word).toLowerCase()) ?? "none";
}

/**
 * @param {string[]} levels
 * @returns {"none" | "good" | "warn" | "bad"}
 */
export function worst(levels) {
  return ["bad", "warn", "good"].find((level) => levels.includes(level)) ?? "none";
}

const SEVERITIES = ["bad", "warn", "none", "good"];

/** @param {Level} level @returns {number} the worse, the lower */
export function severityOf(level) {
  return SEVERITIES.indexOf(level);
}

/** What is worse than this comes first where not everything has a place. */
export const USUAL = severityOf("none");
