// A small line without axes, for the recent past of a number. It is inline SVG, drawn when its points change.

import { setAttribute, svgElement } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 48;
const MARGIN = 3;

/** More columns are not visible at this size. */
const MOST_COLUMNS = 160;

export class Sparkline {
  constructor() {
    this.area = svgElement("path", { class: "sparkline__area" });
    this.line = svgElement("path", { class: "sparkline__line" });
    this.node = svgElement(
      "svg",
      { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      this.area,
      this.line,
    );
  }

  /** @param {Series | null} series @param {number} fromMs @param {number} toMs */
  paint(series, fromMs, toMs) {
    const { line, area } = series === null ? { line: "", area: "" } : sparklinePaths(series, fromMs, toMs);
    setAttribute(this.line, "d", line);
    setAttribute(this.area, "d", area);
  }
}

/**
 * Return the paths of a series within a time window; a gap breaks them.
 *
 * @param {Series} series
 * @param {number} fromMs
 * @param {number} toMs
 * @returns {{line: string, area: string}} `d` attributes
 */
export function sparklinePaths(series, fromMs, toMs) {
  const { times, values } = series;
  const isGap = series.gaps();
  let [low, high] = [Infinity, -Infinity];
  const pieces = [];
  let piece = null;
  let lastColumn = -1;
  for (let index = 0; index < times.length; index += 1) {
    const value = values[index];
    if (times[index] < fromMs) continue;
    if (times[index] > toMs) break;
    if (Number.isNaN(value) || isGap(index)) piece = null;
    if (Number.isNaN(value)) continue;
    if (piece === null) pieces.push((piece = []));
    low = Math.min(low, value);
    high = Math.max(high, value);
    const fraction = (times[index] - fromMs) / (toMs - fromMs);
    const column = Math.floor(fraction * MOST_COLUMNS);
    // The newest point of a column represents it.
    if (column === lastColumn && piece.length) piece.pop();
    lastColumn = column;
    piece.push([fraction * WIDTH, value]);
  }
  const middle = high === low;
  const y = (value) => (middle ? HEIGHT / 2 : HEIGHT - MARGIN - ((value - low) / (high - low)) * (HEIGHT - 2 * MARGIN));
  const paths = pieces
    .filter((points) => points.length > 1)
    .map((points) => points.map(([x, value]) => `${x.toFixed(1)} ${y(value).toFixed(1)}`));
  return {
    line: paths.map((points) => `M${points.join("L")}`).join(""),
    area: paths
      .map(
        (points) =>
          `M${points[0].split(" ")[0]} ${HEIGHT}L${points.join("L")}L${points.at(-1).split(" ")[0]} ${HEIGHT}Z`,
      )
      .join(""),
  };
}
