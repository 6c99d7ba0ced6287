// The chart of each panel kind. Room: charts.
//
// A chart has paint({store, source, nowMs}), which says whether there was anything to show, and stop(). Some have
// tick(nowMs) for what moves with time alone, restyle() for a new theme, and `level`, the worst state they show.

import { BarChart } from "./bar.js";
import { FlowChart } from "./flow.js";
import { GaugeChart } from "./gauge.js";
import { LineChart } from "./line.js";
import { NumberChart } from "./number.js";
import { StatusChart } from "./status.js";
import { TableChart } from "./table.js";
import { TextChart } from "./text.js";

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
