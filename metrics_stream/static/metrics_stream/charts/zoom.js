// Let a person choose a stretch of time on a chart, with mouse, finger or pen.
//
// The chart dispatches bubbling events: `zoom` with `detail` {fromMs, toMs}, and `zoomend` on a double click.

import { element, setStyle } from "./dom.js";

/** A shorter drag is a click of an unsteady hand. */
const SHORTEST_DRAG_PX = 8;

/**
 * Watch for drags and double clicks on a plot.
 *
 * @param {uPlot} plot its destruction removes the listeners
 * @param {HTMLElement} host dispatches the events
 */
export function watchZoom(plot, host) {
  const { over } = plot;
  const chosen = element("div", { class: "plot__chosen", hidden: true });
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
    // The chart may move meanwhile; the time under the first touch stays chosen.
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
