// The labels of a chart's axes.

import { formatNumber } from "../client/format.js";
import { clock, formatDay, formatInstant, isSameDay, minuteClock } from "../client/time_of_day.js";

/** The space to the right of the plot. */
export const RIGHT_PADDING_PX = 10;

const HALF_LABEL_PX = 28;

/** From which value on labels are scaled, by what, and the letter for it. The largest have a power of ten already. */
const UNSCALED = [0, 1, ""];
const MAGNITUDES = [
  [1e15, 1, ""],
  [1e9, 1e9, "B"],
  [1e6, 1e6, "M"],
  [1e4, 1e3, "k"],
];

/** @param {number} seconds since the epoch @returns {string} the local time of day, with the day unless it is today */
export function formatClock(seconds) {
  return formatInstant(seconds * 1000);
}

/** @param {number[]} splits @param {string} unit @returns {string[]} */
export function valueLabels(splits, unit) {
  const shares = unit === "ratio";
  if (shares || unit === "percent") {
    const decimals = decimalsOf(splits, shares ? 0.01 : 1);
    return splits.map((value) => formatNumber(value, unit, decimals));
  }
  return splits.map((value) => shortLabel(value, unit, splits));
}

/** Return the labels at the times of an axis, for uPlot. @returns {string[]} */
export function timeLabels(plot, splits) {
  const labels = timeTexts(splits);
  return splits.map((seconds, place) => {
    // Leave out a label that the right edge would cut off.
    if (plot.bbox.width / devicePixelRatio - plot.valToPos(seconds, "x") < HALF_LABEL_PX - RIGHT_PADDING_PX) return "";
    return labels[place];
  });
}

/**
 * Return texts for the times of an axis: times of day, and the date where a day begins.
 *
 * @param {number[]} splits in seconds
 * @returns {string[]}
 */
export function timeTexts(splits) {
  const how = splits.every((seconds) => seconds % 60 === 0) ? minuteClock : clock;
  return splits.map((seconds, place) => {
    const atMs = seconds * 1000;
    if (isMidnight(atMs)) return formatDay(atMs);
    // Where the clocks are set, a day has no split at its beginning.
    const isNewDay = place > 0 && !isSameDay(atMs, splits[place - 1] * 1000);
    return isNewDay ? `${formatDay(atMs)}, ${how.format(atMs)}` : how.format(atMs);
  });
}

function isMidnight(milliseconds) {
  const at = new Date(milliseconds);
  return at.getHours() === 0 && at.getMinutes() === 0 && at.getSeconds() === 0;
}

/** The step of an axis decides the decimals, which all its labels share. */
function shortLabel(value, unit, splits) {
  const largest = Math.max(...splits.map(Math.abs));
  const [, factor, letter] = MAGNITUDES.find(([from]) => largest >= from) ?? UNSCALED;
  const ending = unit === "ms" ? "\u00a0ms" : unit === "months" ? "\u00a0mo" : "";
  if (value === 0) return `${unit === "$" ? "$" : ""}0${ending}`;
  const text = formatNumber(value / factor, unit === "$" ? "$" : "", decimalsOf(splits, factor));
  return `${text}${letter}${ending}`;
}

/** Return the decimals that the step of an axis needs, so that 0.075 is not written as 0.08. */
function decimalsOf(splits, factor) {
  const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) / factor : 1;
  for (let decimals = 0; decimals < 6; decimals += 1) {
    const scaled = step * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * Math.max(1, scaled)) return decimals;
  }
  return 6;
}

/** Return the width of a value axis, for uPlot. @returns {number} in pixels */
export function axisWidth(values) {
  const longest = (values ?? []).reduce((most, text) => Math.max(most, text.length), 0);
  // In steps of two characters, so that the plot does not shift with each new label.
  return 20 + Math.max(4, Math.ceil(longest / 2) * 2) * 6.2;
}
