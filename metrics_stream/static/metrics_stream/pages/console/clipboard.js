// Copy text, on secure pages and over plain HTTP in a local network.

import { setText } from "../../charts/dom.js";

const SHOWN_MS = 1_600;

/** @param {string} text @returns {Promise<boolean>} whether it worked */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard interface over plain HTTP, or no permission: the old way still works.
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}

const timers = new WeakMap();

/**
 * Copy, and show the result on the button for a moment.
 *
 * @param {HTMLElement} button
 * @param {string} text
 * @param {HTMLElement} announcer for screen readers
 */
export async function copyFrom(button, text, announcer) {
  const words = (await copyText(text)) ? "Copied" : "Not allowed";
  const known = timers.get(button);
  if (known) clearTimeout(known.timer);
  const label = known?.label ?? button.textContent;
  setText(button, words);
  setText(announcer, words);
  const timer = setTimeout(() => {
    setText(button, label);
    timers.delete(button);
  }, SHOWN_MS);
  timers.set(button, { timer, label });
}
