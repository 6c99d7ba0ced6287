// The button that shows a page in full screen.

import { setText } from "../charts/dom.js";

/** @param {Document} page @returns {() => void} removes the listeners */
export function watchFullScreen(page) {
  const button = page.querySelector("[data-full-screen]");
  if (button === null || !page.fullscreenEnabled) return () => {};
  button.hidden = false;
  const show = () => setText(button.lastElementChild, page.fullscreenElement ? "Leave full screen" : "Full screen");
  const toggle = () => {
    if (page.fullscreenElement) page.exitFullscreen();
    else page.documentElement.requestFullscreen();
  };
  button.addEventListener("click", toggle);
  page.addEventListener("fullscreenchange", show);
  show();
  return () => {
    button.removeEventListener("click", toggle);
    page.removeEventListener("fullscreenchange", show);
  };
}
