// The labels of a chart's time axis.

import { clock, minuteClock } from "../client/time_of_day.js";

/** The space to the right of the plot. */
export const RIGHT_PADDING_PX = 10;

const HALF_LABEL_PX = 28;

/** @param {number} seconds since the epoch @returns {string} the local time of day */
export function formatClock(seconds) {
  return clock.format(seconds * 1000);
}

/** Return the labels at the times of an axis, for uPlot. @returns {string[]} */
export function timeLabels(plot, splits) {
  const minutes = splits.every((seconds) => seconds % 60 === 0);
  return splits.map((seconds) => {
    // Leave out a label that the right edge would cut off.
    if (plot.bbox.width / devicePixelRatio - plot.valToPos(seconds, "x") < HALF_LABEL_PX - RIGHT_PADDING_PX) return "";
    return minutes ? minuteClock.format(seconds * 1000) : formatClock(seconds);
  });
}
