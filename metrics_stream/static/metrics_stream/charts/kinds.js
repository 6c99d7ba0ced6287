// The chart class of each panel kind: this module exports every class by the name of its kind. A kind named `x` has its
// class in charts/x.js, its style sheet in css/charts/x.css, and one line here.
//
// A chart has paint({store, source, moment}), which returns whether there was anything to show, and stop(). Some have
// draw(moment) for what takes long or changes with time alone, which returns whether it drew, restyle() for a new
// theme, and `level`, the worst level they show.

/**
 * @typedef {object} Moment the time that is shown
 * @property {number} nowMs
 * @property {number | null} windowMs how far back; null: as the panel says
 * @property {{fromMs: number, toMs: number} | null} zoom a stretch that charts over time show instead
 */

export { BarChart as bar } from "./bar.js";
export { FlowChart as flow } from "./flow.js";
export { GaugeChart as gauge } from "./gauge.js";
export { LineChart as line } from "./line.js";
export { NumberChart as number } from "./number.js";
export { StatusChart as status } from "./status.js";
export { TableChart as table } from "./table.js";
export { TextChart as text } from "./text.js";
