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

  /**
   * @param {Series | null} series
   * @param {number} fromMs
   * @param {number} toMs
   * @param {{minimum?: number | null, maximum?: number | null}} bounds of plausible values
   */
  paint(series, fromMs, toMs, bounds) {
    const { line, area } = series === null ? { line: "", area: "" } : sparklinePaths(series, fromMs, toMs, bounds);
    setAttribute(this.line, "d", line);
    setAttribute(this.area, "d", area);
  }
}

/**
 * Return the paths of a series within a time window; a gap breaks them.
 *
 * The scale includes zero, or small differences would look large, unless zero is outside the bounds of the field. Each
 * column keeps its lowest and its highest value.
 *
 * @param {Series} series
 * @param {number} fromMs
 * @param {number} toMs
 * @param {{minimum?: number | null, maximum?: number | null}} [bounds] of plausible values
 * @returns {{line: string, area: string}} `d` attributes
 */
export function sparklinePaths(series, fromMs, toMs, bounds = {}) {
  const pieces = piecesOf(series, fromMs, toMs);
  const nearestToZero = Math.min(Math.max(0, bounds.minimum ?? 0), bounds.maximum ?? Infinity);
  let [low, high] = [nearestToZero, nearestToZero];
  for (const [, value] of pieces.flat()) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  // Of one value alone, the line is at the foot.
  const span = high > low ? high - low : 1;
  const y = (value) => HEIGHT - MARGIN - ((value - low) / span) * (HEIGHT - 2 * MARGIN);
  const foot = low < 0 ? y(Math.min(0, high)).toFixed(1) : HEIGHT;
  const paths = pieces
    .filter((points) => points.length > 1)
    .map((points) => points.map(([x, value]) => `${x.toFixed(1)} ${y(value).toFixed(1)}`));
  return {
    line: paths.map((points) => `M${points.join("L")}`).join(""),
    area: paths
      .map(
        (points) =>
          `M${points[0].split(" ")[0]} ${foot}L${points.join("L")}L${points.at(-1).split(" ")[0]} ${foot}Z`,
      )
      .join(""),
  };
}

/** Return the points without a gap between them, as [place, value]: the extremes and the newest value of each column. */
function piecesOf(series, fromMs, toMs) {
  const { times, values, lows, highs } = series;
  const isGap = series.gaps();
  const pieces = [];
  let piece = null;
  let column = null;
  const put = ({ low, high, last }) => {
    // The newest value comes last; what equals it needs no point of its own.
    const extremes = [low, high].sort(([a], [b]) => a - b).filter(([, value]) => value !== last[1]);
    piece.push(...(low[1] === high[1] ? [] : extremes), last);
  };
  const end = () => {
    if (column !== null) put(column);
    column = null;
  };
  for (let index = 0; index < times.length; index += 1) {
    const value = values[index];
    if (times[index] < fromMs) continue;
    if (times[index] > toMs) break;
    if (Number.isNaN(value) || isGap(index)) {
      end();
      piece = null;
    }
    if (Number.isNaN(value)) continue;
    if (piece === null) pieces.push((piece = []));
    const fraction = (times[index] - fromMs) / (toMs - fromMs);
    const x = fraction * WIDTH;
    const number = Math.floor(fraction * MOST_COLUMNS);
    if (number !== column?.number) {
      end();
      column = { number, low: [x, lows[index]], high: [x, highs[index]] };
    }
    if (lows[index] < column.low[1]) column.low = [x, lows[index]];
    if (highs[index] > column.high[1]) column.high = [x, highs[index]];
    column.last = [x, value];
  }
  end();
  return pieces;
}
