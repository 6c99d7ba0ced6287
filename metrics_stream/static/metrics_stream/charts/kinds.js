// Loads the chart classes of a page. A kind named `x` has its class `XChart` in charts/x.js and its style sheet in
// css/charts/x.css. The page links both for each kind of its panels; no module lists the kinds.
//
// A chart has paint({store, source, moment}), which returns whether there was anything to show, and stop(). Some have
// draw(moment) for what takes long or changes with time alone, which returns whether it drew, restyle() for a new theme,
// `intervalMs`, how long to wait between two paintings, and `level`, the worst level they show.

/**
 * @typedef {object} Moment the time that is shown
 * @property {number} nowMs
 * @property {number | null} windowMs how far back; null: as the panel says
 * @property {{fromMs: number, toMs: number} | null} zoom a stretch that charts over time show instead
 */

/**
 * @param {ParentNode} page
 * @returns {Promise<Map<string, Function>>} the class by kind, for each kind that the page links
 */
export async function loadCharts(page) {
  const links = [...page.querySelectorAll("link[data-chart]")];
  const modules = await Promise.all(links.map((link) => import(link.href)));
  return new Map(links.map(({ dataset: { chart } }, index) => [chart, modules[index][classNameOf(chart)]]));
}

/** @param {string} kind such as "line" @returns {string} such as "LineChart" */
function classNameOf(kind) {
  return `${kind.charAt(0).toUpperCase()}${kind.slice(1)}Chart`;
}
