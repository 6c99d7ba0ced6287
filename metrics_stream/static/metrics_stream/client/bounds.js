// Values outside the bounds of their field.

import { formatNumber } from "./format.js";

/** Sums of shares may be over 1 by a rounding error. */
const TOLERANCE = 1e-9;

/**
 * Return the words for a value outside the bounds of its field, such as "outside 0 % to 100 %".
 *
 * @param {unknown} value
 * @param {{unit: string, minimum?: number | null, maximum?: number | null}} field
 * @param {string} unit of the value; bounds are known only for the field's own unit
 * @returns {string} empty for a value within the bounds
 */
export function outsideWords(value, { unit: own, minimum = null, maximum = null }, unit) {
  if (typeof value !== "number" || unit !== own) return "";
  const words = (bound) => formatNumber(bound, unit, isShare(unit) ? 0 : null);
  const isBelow = minimum !== null && value < minimum - TOLERANCE * Math.max(1, Math.abs(minimum));
  const isAbove = maximum !== null && value > maximum + TOLERANCE * Math.max(1, Math.abs(maximum));
  if (!isBelow && !isAbove) return "";
  if (minimum !== null && maximum !== null) return `outside ${words(minimum)} to ${words(maximum)}`;
  return isBelow ? `below ${words(minimum)}` : `above ${words(maximum)}`;
}

/** @param {string} unit @returns {boolean} whether numbers of the unit are written as per cent */
export function isShare(unit) {
  return unit === "ratio" || unit === "percent";
}
