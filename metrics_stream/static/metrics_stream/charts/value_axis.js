// The ticks and labels of a chart's value axis.

import { isShare } from "../client/bounds.js";
import { formatNumber } from "../client/format.js";
import { scaleUnit } from "../client/units.js";

/** From which value on labels are scaled, by what, and the letter for it. */
const UNSCALED = [0, 1, ""];
const MAGNITUDES = [
  [1e9, 1e9, "B"],
  [1e6, 1e6, "M"],
  [1e4, 1e3, "k"],
];

/** Values from here on, and steps below this, are written with a power of ten. */
const HUGE = 1e15;
const TINY = 1e-5;

/** Between the largest and the smallest number that a chart draws: the difference of any two is finite. */
export const MOST = 8e307;

/** uPlot draws axes of numbers between these sizes. */
const LEAST_DRAWN = 1e-10;
const MOST_DRAWN = 1e14;

/**
 * Return the power of ten by which to divide values so that uPlot can draw them.
 *
 * @param {number | null} low the lowest value
 * @param {number | null} high the highest value
 * @returns {number} 1 for usual values
 */
export function powerOf(low, high) {
  const size = Math.min(Math.max(Math.abs(low ?? 0), Math.abs(high ?? 0)), MOST);
  if (size === 0 || (size >= LEAST_DRAWN && size < MOST_DRAWN)) return 1;
  return Number(`1e${Math.max(-300, Math.floor(Math.log10(size)))}`);
}

/** Steps between ticks are one of these times a power of ten. */
const STEPS = [1, 2, 2.5, 5, 10];

/**
 * Return the values of the ticks of an axis, for uPlot, whose own steps end at 1e-16 and 1e16.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} most how many fit
 * @returns {number[]}
 */
export function ticksBetween(low, high, most) {
  const least = (high - low) / Math.max(1, most);
  if (!(least > 0) || !Number.isFinite(least)) return [low];
  const power = Math.floor(Math.log10(least));
  const factor = STEPS.find((each) => each * 10 ** power >= least * (1 - 1e-9)) ?? 10;
  const step = Number(`${factor}e${power}`);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  // A product has rounding errors, which fifteen digits hide.
  return Array.from({ length: Math.min(count, 2 * most + 2) }, (_, index) => {
    const value = Number(((first + index) * step).toPrecision(15));
    return value === 0 ? 0 : value;
  });
}

/** @param {number[]} splits @param {string} unit @returns {string[]} */
export function valueLabels(splits, unit) {
  const largest = Math.max(...splits.map(Math.abs));
  const step = stepOf(splits);
  if (largest >= HUGE || (step > 0 && step < TINY)) return splits.map((value) => withUnit(scientific(value, step), unit));
  if (isShare(unit)) {
    const decimals = decimalsOf(step, unit === "ratio" ? 0.01 : 1);
    return splits.map((value) => formatNumber(value, unit, decimals));
  }
  const scale = scaleUnit(largest, unit);
  if (scale !== null) {
    const decimals = decimalsOf(step, scale.divisor);
    return splits.map((value) => `${formatNumber(value / scale.divisor, "", decimals)}\u00a0${scale.unit}`);
  }
  const [, factor, letter] = MAGNITUDES.find(([from]) => largest >= from) ?? UNSCALED;
  return splits.map((value) => {
    if (value === 0) return withUnit("0", unit);
    return withUnit(`${formatNumber(value / factor, "", decimalsOf(step, factor))}${letter}`, unit);
  });
}

/** Return the width of a value axis, for uPlot. @returns {number} in pixels */
export function axisWidth(values) {
  const longest = (values ?? []).reduce((most, text) => Math.max(most, text.length), 0);
  // In steps of two characters, so that the plot does not shift with each new label.
  return 20 + Math.max(4, Math.ceil(longest / 2) * 2) * 6.2;
}

/** Put the unit beside a label, if it is short; others are in the legend. */
function withUnit(text, unit) {
  if (unit === "$") return text.startsWith("-") ? `-$${text.slice(1)}` : `$${text}`;
  if (unit === "ms") return `${text}\u00a0ms`;
  if (unit === "months") return `${text}\u00a0mo`;
  return unit === "multiple" ? `${text}\u00a0×` : text;
}

function stepOf(splits) {
  return splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 1;
}

/** Return the decimals that a step needs, so that 0.075 is not written as 0.08. */
function decimalsOf(step, factor) {
  for (let decimals = 0; decimals < 6; decimals += 1) {
    const scaled = (step / factor) * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * Math.max(1, scaled)) return decimals;
  }
  return 6;
}

/** Return "2.5e-12" with as many digits as tell the value from its neighbours. */
function scientific(value, step) {
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(value)));
  const digits = Math.min(Math.max(power - Math.floor(Math.log10(step)) + 1, 0), 12);
  const [number, exponent] = value.toExponential(digits).split("e");
  return `${number.includes(".") ? number.replace(/\.?0+$/, "") : number}e${Number(exponent)}`;
}
