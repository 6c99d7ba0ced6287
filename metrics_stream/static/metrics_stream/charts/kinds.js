// The chart of each panel kind. Room: charts.
//
// A chart has paint({store, source, moment}), which says whether there was anything to show, and stop(). Some have
// draw(moment) for what takes long or moves with time alone, which says whether it drew, restyle() for a new theme, and
// `level`, the worst state they show.

import { BarChart } from "./bar.js";
import { FlowChart } from "./flow.js";
import { GaugeChart } from "./gauge.js";
import { LineChart } from "./line.js";
import { NumberChart } from "./number.js";
import { StatusChart } from "./status.js";
import { TableChart } from "./table.js";
import { TextChart } from "./text.js";

/**
 * @typedef {object} Moment the time that is shown
 * @property {number} nowMs
 * @property {number | null} windowMs how far back; null: as the panel says
 * @property {{fromMs: number, toMs: number} | null} zoom a stretch that charts over time show instead
 */

/** @type {Map<string, new (panel: object, host: HTMLElement) => object>} */
export const CHARTS = new Map([
  ["line", LineChart],
  ["number", NumberChart],
  ["gauge", GaugeChart],
  ["bar", BarChart],
  ["table", TableChart],
  ["status", StatusChart],
  ["flow", FlowChart],
  ["text", TextChart],
]);
