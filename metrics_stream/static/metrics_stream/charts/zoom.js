// Choosing a stretch of time on a chart, with mouse, finger or pen. Room: charts.
//
// Tells it by events on the chart that bubble: `zoom` with `detail` {fromMs, toMs}, `zoomend` on a double click.

import { element, setStyle } from "./dom.js";

/** Less than this is a click with a shaky hand. */
const SHORTEST_DRAG_PX = 8;

/**
 * Let a person drag over a plot.
 *
 * @param {uPlot} plot which takes the listeners with it when it is destroyed
 * @param {HTMLElement} host from which the events come
 */
export function watchZoom(plot, host) {
  const { over } = plot;
  const chosen = element("div", { class: "line__chosen", hidden: true });
  over.append(chosen);
  /** @type {{pointerId: number, startPx: number, startSeconds: number} | null} */
  let drag = null;

  const leftOf = (event) => {
    const { left, width } = over.getBoundingClientRect();
    return Math.min(Math.max(event.clientX - left, 0), width);
  };
  const end = () => {
    drag = null;
    chosen.hidden = true;
  };

  over.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    const startPx = leftOf(event);
    drag = { pointerId: event.pointerId, startPx, startSeconds: plot.posToVal(startPx, "x") };
    over.setPointerCapture(event.pointerId);
  });
  over.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drag?.pointerId) return;
    // The chart may move on meanwhile; what was under the finger at first stays chosen.
    const [start, here] = [Math.max(0, plot.valToPos(drag.startSeconds, "x")), leftOf(event)];
    chosen.hidden = false;
    setStyle(chosen, "left", `${Math.min(start, here)}px`);
    setStyle(chosen, "width", `${Math.abs(here - start)}px`);
  });
  over.addEventListener("pointerup", (event) => {
    if (event.pointerId !== drag?.pointerId) return;
    const endPx = leftOf(event);
    const seconds = [drag.startSeconds, plot.posToVal(endPx, "x")].sort((a, b) => a - b);
    const isDrag = Math.abs(endPx - drag.startPx) >= SHORTEST_DRAG_PX;
    end();
    if (!isDrag) return;
    const [fromMs, toMs] = seconds.map((each) => Math.round(each * 1000));
    host.dispatchEvent(new CustomEvent("zoom", { bubbles: true, detail: { fromMs, toMs } }));
  });
  over.addEventListener("pointercancel", () => drag && end());
  over.addEventListener("dblclick", () => host.dispatchEvent(new CustomEvent("zoomend", { bubbles: true })));
}
