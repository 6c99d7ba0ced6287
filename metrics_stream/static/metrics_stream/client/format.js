// Numbers, units, ages and names as texts for people.

import { scaleUnit } from "./units.js";

/** @typedef {{text: string, unit: string, prefix: string}} Parts `prefix` precedes the number, `unit` follows it */

/** What follows a number of this unit; a unit that is not listed follows as it is. */
const SUFFIXES = new Map([
  ["ratio", "%"],
  ["percent", "%"],
  ["ms", "ms"],
  ["s", "s"],
  ["tps", "tps"],
  ["/s", "/s"],
  ["Mbps", "Mbps"],
  ["MB", "MB"],
  ["$", ""],
  ["count", ""],
  ["multiple", "×"],
  ["months", "months"],
  ["score", ""],
]);

/** The text for a missing value. */
export const NO_VALUE = "–";

const MAGNITUDES = [
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "k"],
];

/** The seconds of a unit of time, its name, and from how many seconds on it is used. */
const LONG_TIMES = [
  [86_400, "d", 2 * 86_400],
  [3_600, "h", 5_995],
  [60, "min", 0],
];

/** From here on a number is written with a power of ten; the largest one has 309 digits. */
const HUGE = 1e15;

/** So is a number that is smaller than this, but not zero. */
const TINY = 1e-4;

const formatters = new Map();

function fixed(value, decimals) {
  if (Math.abs(value) >= HUGE) return value.toExponential(2).replace("+", "");
  if (!formatters.has(decimals)) {
    formatters.set(
      decimals,
      new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }),
    );
  }
  // Adding zero turns -0 into 0.
  const text = formatters.get(decimals).format(value + 0);
  return /^-[0.,]*$/.test(text) ? text.slice(1) : text;
}

/**
 * Return `value` with three significant digits or so: 0.034, 3.46, 87.2, 132, 12.3k, 4.56M.
 *
 * The number of decimals depends on the magnitude alone, and trailing zeros stay, so that a value which changes a
 * little keeps its width.
 */
function compact(value) {
  const size = Math.abs(value);
  if (size >= HUGE) return [fixed(value, 0), ""];
  for (const [factor, letter] of MAGNITUDES) {
    // 999,950 would be rounded to "1,000k"; it becomes "1.00M". Whole numbers up to 9,999 stay whole.
    if (size >= factor * 0.9995 && (factor > 1e3 || size >= 9_999.5)) {
      return [significant(value / factor), letter];
    }
  }
  return [size >= 999.5 ? fixed(value, 0) : significant(value), ""];
}

function significant(value) {
  const size = Math.abs(value);
  if (size > 0 && size < TINY) return value.toExponential(2);
  if (size >= 99.95) return fixed(value, 0);
  if (size >= 9.995) return fixed(value, 1);
  if (size >= 0.1 || size === 0) return fixed(value, 2);
  return fixed(value, size >= 0.001 ? 4 : 5);
}

/** Return a number of bytes or bits in the unit of its size; there are no halves of the smallest unit. */
function scaled(value, { unit, divisor, isSmallest }) {
  const shown = value / divisor;
  const size = Math.abs(shown);
  const isWhole = (isSmallest && Number.isInteger(shown)) || size >= 999.5;
  return { text: isWhole ? fixed(shown, 0) : significant(shown), unit, prefix: "" };
}

/**
 * Return the parts of a number with its unit.
 *
 * @param {number | null | undefined} value in the unit of the wire: `ratio` is 0–1, `percent` 0–100
 * @param {string} [unit] one of the catalogue, see docs/metrics.md, or empty
 * @param {number | null} [decimals] a fixed number of decimals, without k and M; null: by the magnitude
 * @returns {Parts}
 */
export function formatParts(value, unit = "", decimals = null) {
  if (typeof value !== "number" || !Number.isFinite(value)) return { text: NO_VALUE, unit: "", prefix: "" };
  let suffix = SUFFIXES.get(unit) ?? unit;
  let shown = unit === "ratio" ? value * 100 : value;
  const prefix = unit === "$" ? "$" : "";
  if (decimals !== null) return signed(fixed(shown, decimals), suffix, prefix);
  if (unit === "ratio" || unit === "percent") {
    const size = Math.abs(shown);
    // Near the ends one decimal is not enough: error rates are below 1 %, uptime is above 99.9 %.
    const fine = size < 0.995 || (size > 99.9 && size < 100);
    return signed(size >= 9_999.5 ? compact(shown).join("") : fixed(shown, fine ? 2 : 1), suffix, prefix);
  }
  if (unit === "ms") {
    const size = Math.abs(shown);
    if (size >= 59_950) return signed(fixed(shown / 60_000, 1), "min", prefix);
    if (size >= 999.5) return signed(fixed(shown / 1000, size >= 9_995 ? 1 : 2), "s", prefix);
    if (size > 0 && size < 0.0995) return signed(significant(shown), suffix, prefix);
    return signed(size >= 99.95 ? fixed(shown, 0) : fixed(shown, 1), suffix, prefix);
  }
  const scale = scaleUnit(Math.abs(shown), unit);
  if (scale !== null) return scaled(shown, scale);
  if (unit === "s" && Math.abs(shown) >= 99.95) {
    const [factor, name] = LONG_TIMES.find(([, , from]) => Math.abs(shown) >= from);
    return signed(fixed(shown / factor, Math.abs(shown) >= factor * 99.95 ? 0 : 1), name, prefix);
  }
  if (unit === "count" && Number.isInteger(shown) && Math.abs(shown) < 1_000_000) {
    return signed(fixed(shown, 0), suffix, prefix);
  }
  if (unit === "$" && Math.abs(shown) >= 0.995 && Math.abs(shown) < 999.5) {
    return signed(fixed(shown, 2), suffix, prefix);
  }
  const [text, letter] = compact(shown);
  return signed(text + letter, suffix, prefix);
}

function signed(text, unit, prefix) {
  // The sign stands before the currency: -$3.20.
  return text.startsWith("-") && prefix ? { text: text.slice(1), unit, prefix: `-${prefix}` } : { text, unit, prefix };
}

/**
 * Return a number with its unit as one text, "87.2 %".
 *
 * @param {number | null | undefined} value
 * @param {string} [unit]
 * @param {number | null} [decimals]
 * @returns {string}
 */
export function formatNumber(value, unit = "", decimals = null) {
  const parts = formatParts(value, unit, decimals);
  return `${parts.prefix}${parts.text}${parts.unit ? `\u00a0${parts.unit}` : ""}`;
}

/**
 * Return the change from an earlier value: "+4.2 %", or for percentages in points, "+0.4 pts".
 *
 * @param {number} value
 * @param {number} earlier
 * @param {string} unit
 * @returns {string} empty where there is no meaningful change
 */
export function formatChange(value, earlier, unit) {
  if (!Number.isFinite(value) || !Number.isFinite(earlier)) return "";
  if (unit === "ratio" || unit === "percent") {
    const points = (value - earlier) * (unit === "ratio" ? 100 : 1);
    return `${plus(points, 1)}${fixed(points, 1)}\u00a0pts`;
  }
  if (earlier === 0) return value === 0 ? "0.0\u00a0%" : "";
  const percent = ((value - earlier) / Math.abs(earlier)) * 100;
  if (Math.abs(percent) >= 999.5) return `${plus(percent, 0)}${percent > 0 ? "" : "-"}>999\u00a0%`;
  return `${plus(percent, 1)}${fixed(percent, 1)}\u00a0%`;
}

function plus(value, decimals) {
  return Number(value.toFixed(decimals)) > 0 ? "+" : "";
}

/**
 * Return a duration, short enough for a header: "0.8 s", "14 s", "3 min", "2 h".
 *
 * @param {number} milliseconds
 * @returns {string}
 */
export function formatDuration(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 119.5) return `${Math.round(seconds)}\u00a0s`;
  if (seconds < 7_170) return `${Math.round(seconds / 60)}\u00a0min`;
  if (seconds < 172_000) return `${Math.round(seconds / 3600)}\u00a0h`;
  return `${Math.round(seconds / 86_400)}\u00a0days`;
}

/**
 * Return a size in bytes: "812 B", "4.2 kB", "1.3 MB".
 *
 * @param {number} bytes
 * @returns {string}
 */
export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes}\u00a0B`;
  if (bytes < 999_950) return `${(bytes / 1000).toFixed(1)}\u00a0kB`;
  return `${(bytes / 1e6).toFixed(1)}\u00a0MB`;
}

/**
 * Return any value from the wire as one line of text: numbers with their unit, lists with commas.
 *
 * @param {unknown} value
 * @param {string} [unit]
 * @param {number | null} [decimals]
 * @param {(path: string) => string} [unitAt] the unit of a part of an object, by its path below the value
 * @returns {string}
 */
export function formatValue(value, unit = "", decimals = null, unitAt = () => unit) {
  if (value === null || value === undefined || value === "") return NO_VALUE;
  if (typeof value === "number") return formatNumber(value, unit, decimals);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map((item) => formatValue(item, unit, decimals, unitAt)).join(", ");
  if (typeof value === "object") {
    return Object.entries(value)
      .map(([key, item]) => {
        const below = (path) => unitAt(`${key}.${path}`);
        return `${nameBesideUnit(key, unitAt(key))} ${formatValue(item, unitAt(key), decimals, below)}`;
      })
      .join(", ");
  }
  return String(value);
}

/** Words with a spelling of their own. */
const SPELLINGS = new Map(
  (
    "AI API AWS CPU CloudWatch DB DynamoDB EC2 ECS EKS ElastiCache HTTP ID IO p50 p90 p95 p99 RAM RDS ROI S3 " +
    "SageMaker SNS SQS TPS URL"
  )
    .split(" ")
    .map((word) => [word.toLowerCase(), word]),
);

/** What names end with, by the unit that is shown beside the value. */
const ENDINGS = new Map([
  ["ms", /_ms$/],
  ["s", /_(s|seconds)$/],
  ["tps", /_(tps|per_second)$/],
  ["percent", /_(percentage|percent|pct)$/],
  ["$", /_(usd|dollars)$/],
  ["months", /_months$/],
  ["Mbps", /_mbps$/],
  ["MB", /_mb$/],
  ["MB/s", /_mb_per_second$/],
]);

/**
 * Return a key as a person writes it, without a unit that is shown beside the value.
 *
 * @param {string} key
 * @param {string} unit of the value
 * @returns {string} "P99 latency" for "p99_latency_ms" with the unit "ms"
 */
export function nameBesideUnit(key, unit) {
  const ending = ENDINGS.get(unit);
  return humanize(ending === undefined ? key : String(key).replace(ending, ""));
}

/** Keys that are written as identifiers; other names are labels already. */
const IDENTIFIER = /^[a-z0-9]+(_+[a-z0-9]+)*$/;

/**
 * Return an identifier of the wire as a person writes it: "fraud_detection_rate" is "Fraud detection rate". Any other
 * name stays as it was given: "GET /api/x".
 *
 * @param {string} key
 * @returns {string}
 */
export function humanize(key) {
  const name = String(key);
  if (!IDENTIFIER.test(name)) return name;
  const words = name.split(/_+/);
  const text = words.map((word) => SPELLINGS.get(word) ?? word).join(" ");
  // "p99 latency", as everybody writes it.
  return SPELLINGS.has(words[0]) || /^p\d/.test(words[0]) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
