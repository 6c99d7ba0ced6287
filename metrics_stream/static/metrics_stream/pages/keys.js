// Keys for the time that a dashboard shows: space, arrows, Escape.

const STEP_MS = 10_000;
const LONG_STEP_MS = 60_000;

/** Elements that use these keys themselves: all of them, the space bar, or the arrows (to scroll). */
const OWN_KEYS = "input, select, textarea, [contenteditable], dialog";
const OWN_SPACE = `${OWN_KEYS}, button, a, summary`;
const OWN_ARROWS = `${OWN_KEYS}, [tabindex="0"]`;

/**
 * @param {Document} page
 * @param {TimeMachine} time
 * @returns {() => void} removes the listener
 */
export function watchKeys(page, time) {
  const press = (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const isIn = (selector) => event.target.closest?.(selector) !== null;
    if (event.key === "Escape") {
      if (!time.isLive) time.toLive();
      else if (time.zoom !== null) time.setZoom(null);
      return;
    }
    // A held key repeats thirty times a second, and the server closes a connection at more than ten messages a second.
    if (event.key === "Enter" && event.repeat && isIn("button")) event.preventDefault();
    if (isIn(event.key === " " ? OWN_SPACE : OWN_ARROWS)) return;
    if (event.key === " ") {
      if (!event.repeat) time.togglePause();
    } else if (time.isReplaying && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      const step = event.shiftKey ? LONG_STEP_MS : STEP_MS;
      time.seek(time.nowMs + (event.key === "ArrowLeft" ? -step : step));
    } else {
      return;
    }
    // Or the page would scroll.
    event.preventDefault();
  };
  page.addEventListener("keydown", press);
  return () => page.removeEventListener("keydown", press);
}
