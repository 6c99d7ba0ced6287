// The legend of a line chart: the colour, name and value of each line, as a button that hides it.

import { element, KeyedList, setAttribute, setStyle, setText } from "./dom.js";
import { SERIES_COLOURS, seriesVariable } from "./palette.js";

export class Legend {
  #colourSlots = new Map();
  #hidden = new Set();

  /** @param {HTMLElement} host @param {(key: string) => void} onToggle */
  constructor(host, onToggle) {
    this.onToggle = onToggle;
    const list = element("ul", { class: "line__legend" });
    host.append(list);
    this.list = new KeyedList(
      list,
      (line) => this.#createItem(line),
      (...all) => this.#updateItem(...all),
    );
  }

  /**
   * @param {{key: string, label: string, text: string, outside?: string}[]} lines
   * @param {Map<string, number>} slots the number of the colour of each line, by key
   * @param {Set<string>} hidden keys
   */
  show(lines, slots, hidden) {
    this.#colourSlots = slots;
    this.#hidden = hidden;
    this.list.show(lines);
  }

  #createItem(line) {
    const swatch = element("span", { class: "line__swatch" });
    const label = element("span", { class: "line__label" });
    const value = element("span", { class: "line__value numeric" });
    const button = element(
      "button",
      { class: "line__item", type: "button" },
      swatch,
      label,
      value,
    );
    button.addEventListener("click", () => this.onToggle(line.key));
    return { node: element("li", {}, button), button, swatch, label, value, widest: 0 };
  }

  #updateItem(part, line) {
    const slot = this.#colourSlots.get(line.key);
    setStyle(part.swatch, "--swatch", `var(${seriesVariable(slot)})`);
    setAttribute(part.swatch, "data-dashed", slot >= SERIES_COLOURS);
    setAttribute(part.button, "aria-pressed", this.#hidden.has(line.key) ? "false" : "true");
    setText(part.label, line.label);
    setAttribute(part.button, "title", `${line.label}\nShow or hide this line`);
    setText(part.value, line.text);
    setAttribute(part.value, "title", line.outside || null);
    setAttribute(part.value, "data-outside", Boolean(line.outside));
    if (line.text.length > part.widest) {
      part.widest = line.text.length;
      setStyle(part.value, "min-width", `${part.widest}ch`);
    }
  }
}
