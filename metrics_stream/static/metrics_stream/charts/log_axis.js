// The ticks and labels of a logarithmic axis.

import { formatNumber } from "../client/format.js";
import { scaleUnit } from "../client/units.js";

/**
 * Return the values with a tick: powers of ten, and 2 and 5 times these where there is room.
 *
 * @param {number} low above zero
 * @param {number} high
 * @param {number} lengthPx of the axis
 * @param {number} tickPx the least distance between two ticks
 * @returns {number[]} ascending
 */
export function logTicks(low, high, lengthPx, tickPx) {
  const decadePx = lengthPx / Math.log10(high / low);
  // 2 and 5 divide a decade into three parts, of which the narrowest is a third of it.
  const steps = decadePx / 3.4 >= tickPx ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(tickPx / decadePx));
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    if (power % every !== 0) continue;
    for (const step of steps) found.push(Number(`${step}e${power}`));
  }
  return found.filter((value) => value >= low && value <= high);
}

/** @param {number} value with one significant digit, which the label shows @param {string} unit @returns {string} */
export function logTickLabel(value, unit) {
  if (unit === "ms" && value >= 1000) return `${formatNumber(value / 1000, "", 0)}\u00a0s`;
  const scale = scaleUnit(value, unit);
  if (scale !== null) return `${formatNumber(value / scale.divisor, "", 0)}\u00a0${scale.unit}`;
  if (value >= 10_000) return formatNumber(value, unit);
  const digits = -Math.floor(Math.log10(value * (unit === "ratio" ? 100 : 1)) + 1e-9);
  return formatNumber(value, unit, Math.min(20, Math.max(0, digits)));
}
