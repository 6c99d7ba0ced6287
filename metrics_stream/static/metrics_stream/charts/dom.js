// Create elements, and write only what changed to them. Text is written as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} name
 * @param {Record<string, string | number | boolean | null>} [attributes] null and false are left out
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/**
 * @param {string} name
 * @param {Record<string, string | number | boolean | null>} [attributes]
 * @param {...(Node | string)} children
 * @returns {SVGElement}
 */
export function svgElement(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  node.append(...children);
  return node;
}

/**
 * @param {Element} node
 * @param {string} name
 * @param {string | number | boolean | null} value null and false remove the attribute
 */
export function setAttribute(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** @param {Node} node @param {string} text */
export function setText(node, text) {
  const only = node.firstChild;
  if (only !== null && only.nodeType === 3 && only.nextSibling === null) {
    if (only.data !== text) only.data = text;
  } else if (only !== null || text !== "") {
    node.textContent = text;
  }
}

/** @param {HTMLElement | SVGElement} node @param {string} name @param {string} value */
export function setStyle(node, name, value) {
  if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

/**
 * Keeps the children of a node equal to a list of items: creates, updates and removes them by key, in list order.
 *
 * @template T
 */
export class KeyedList {
  #parts = new Map();

  /**
   * @param {Element} parent
   * @param {(item: T) => {node: Element}} create
   * @param {(part: {node: Element}, item: T, index: number) => void} update
   */
  constructor(parent, create, update) {
    this.parent = parent;
    this.create = create;
    this.update = update;
  }

  /** @param {(T & {key: string})[]} items */
  show(items) {
    const keys = new Set(items.map((item) => item.key));
    for (const [key, part] of this.#parts) {
      if (keys.has(key)) continue;
      part.node.remove();
      this.#parts.delete(key);
    }
    let place = this.parent.firstElementChild;
    items.forEach((item, index) => {
      let part = this.#parts.get(item.key);
      if (!part) {
        part = this.create(item);
        this.#parts.set(item.key, part);
      }
      this.update(part, item, index);
      if (part.node === place) place = place.nextElementSibling;
      else this.parent.insertBefore(part.node, place);
    });
  }
}

/** Shapes by level, so that a level is recognizable without colour. */
const SHAPES = {
  good: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM5 8.2l2.2 2.2 4-4.6",
  warn: "M8 1.8 15 14H1zM8 6.2v3.6M8 11.8v.4",
  bad: "M5.2 1.5h5.6l3.7 3.7v5.6l-3.7 3.7H5.2l-3.7-3.7V5.2zM5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6",
  none: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z",
};

/** Words by level, for numbers with thresholds. */
export const LEVEL_WORDS = { good: "OK", warn: "Warning", bad: "Critical", none: "" };

/** @returns {SVGElement} an icon; setLevelIcon sets its shape */
export function levelIcon() {
  return svgElement("svg", { class: "level-icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svgElement("path"));
}

/** @param {SVGElement} icon @param {"none" | "good" | "warn" | "bad"} level */
export function setLevelIcon(icon, level) {
  setAttribute(icon, "data-level", level);
  setAttribute(icon.firstElementChild, "d", SHAPES[level]);
}
