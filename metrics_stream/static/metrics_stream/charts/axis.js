// The labels of a chart's time axis.

import { clock, formatDay, formatInstant, isSameDay, minuteClock } from "../client/time_of_day.js";

/** The space to the right of the plot. */
export const RIGHT_PADDING_PX = 10;

const HALF_LABEL_PX = 28;

/** @param {number} seconds since the epoch @returns {string} the local time of day, with the day unless it is today */
export function formatClock(seconds) {
  return formatInstant(seconds * 1000);
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
