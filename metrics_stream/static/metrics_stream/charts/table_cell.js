// A cell of a table: a number, or a word with its state.

import { element, levelIcon, setAttribute, setLevelIcon, setText } from "./dom.js";

/** Longer texts may be cut; they are in the tooltip. */
const LONG_TEXT = 30;

/** @param {Cell | {node: Element}} item a cell, or the head of a row @returns {object} its part, for a KeyedList */
export function createCell(item) {
  if (item.node) return { node: item.node };
  const icon = levelIcon();
  const text = element("span");
  return { node: element("td", {}, icon, text), icon, text };
}

/** @param {object} part @param {Cell} cell */
export function updateCell(part, cell) {
  if (cell.node) return;
  const word = !cell.numeric && cell.level !== "none";
  setAttribute(part.icon, "hidden", !word && !cell.outside);
  setLevelIcon(part.icon, cell.outside ? "warn" : cell.level);
  setText(part.text, cell.text);
  setAttribute(part.node, "title", cell.outside || cell.note || (cell.text.length > LONG_TEXT ? cell.text : null));
  setAttribute(part.node, "data-outside", Boolean(cell.outside));
  setAttribute(part.node, "class", cell.numeric ? "numeric" : null);
  setAttribute(part.node, "data-numeric", cell.numeric);
  setAttribute(part.node, "data-level", cell.level);
  setAttribute(part.node, "colspan", cell.span ?? null);
}
