// The scale of colours for "few" to "many": from the surface of the page to a colour that stands out in both themes.

import { resolveColours } from "./palette.js";

const STOPS = ["--ramp-1", "--ramp-2", "--ramp-3", "--ramp-4", "--ramp-5"];

/** So many different colours; a person cannot tell more apart. */
const STEPS = 32;

/**
 * Return the colours of the current theme.
 *
 * @param {Element} host
 * @returns {string[]} from "few" to "many"
 */
export function rampOf(host) {
  const stops = resolveColours(host, ...STOPS).map((colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number));
  return Array.from({ length: STEPS }, (_, step) => {
    const at = (step / (STEPS - 1)) * (stops.length - 1);
    const [from, to] = [stops[Math.floor(at)], stops[Math.ceil(at)]];
    const mixed = from.map((part, index) => Math.round(part + (to[index] - part) * (at % 1)));
    return `rgb(${mixed.join(", ")})`;
  });
}

/** @param {string[]} ramp @param {number} share 0–1 @returns {string} */
export function colourAt(ramp, share) {
  return ramp[Math.min(ramp.length - 1, Math.max(0, Math.round(share * (ramp.length - 1))))];
}
