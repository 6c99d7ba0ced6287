// What all plots with axes have in common, for uPlot: their axes look alike, and their cursors move together.

import { RIGHT_PADDING_PX, timeLabels } from "./axis.js";
import { resolveColours } from "./palette.js";

/** The least distance between two ticks of the value axis. */
export const TICK_PX = 34;

/** The cursor of plots over time: all of them show the same time, and watchZoom handles drags and double clicks. */
export const TIME_CURSOR = {
  sync: { key: "metrics-stream", scales: ["x", null] },
  drag: { x: false, y: false, setScale: false },
  bind: { dblclick: () => null },
  y: false,
};

/** @param {HTMLElement} host @returns {{width: number, height: number}} of a plot that fills it */
export function plotSize(host) {
  return { width: Math.max(40, host.clientWidth), height: Math.max(40, host.clientHeight) };
}

/**
 * Return what every plot is made with.
 *
 * @param {HTMLElement} host
 * @returns {{options: object, axis: object, timeAxis: object}} `axis`: what an axis of values has, too
 */
export function plotStyle(host) {
  const [grid, stroke] = resolveColours(host, "--chart-grid", "--chart-axis");
  const font = `11px ${getComputedStyle(host).fontFamily}`;
  const axis = { stroke, font, ticks: { show: false }, grid: { stroke: grid, width: 1 } };
  return {
    options: { ...plotSize(host), padding: [8, RIGHT_PADDING_PX, 0, 0], legend: { show: false } },
    axis,
    timeAxis: { ...axis, size: 26, gap: 6, space: 72, grid: { show: false }, values: timeLabels },
  };
}

/** Let a plot fill its host again, after that has got another size. */
export function fitPlot(plot, host) {
  const { width, height } = plotSize(host);
  if (plot && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
}
