// The legend of a line chart: a line's colour, its name, a value, and a button to hide it. Room: charts.

import { element, KeyedList, setAttribute, setStyle, setText } from "./dom.js";
import { SERIES_COLOURS, seriesVariable } from "./palette.js";

export class Legend {
  #slots = new Map();
  #hidden = new Set();

  /** @param {HTMLElement} host @param {(key: string) => void} toggle */
  constructor(host, toggle) {
    this.toggle = toggle;
    const list = element("ul", { class: "line__legend" });
    host.append(list);
    this.list = new KeyedList(list, (line) => this.#create(line), (...all) => this.#update(...all));
  }

  /**
   * @param {{key: string, label: string, text: string}[]} lines
   * @param {Map<string, number>} slots the number of each line's colour, by key
   * @param {Set<string>} hidden keys
   */
  show(lines, slots, hidden) {
    this.#slots = slots;
    this.#hidden = hidden;
    this.list.show(lines);
  }

  #create(line) {
    const swatch = element("span", { class: "line__swatch" });
    const label = element("span", { class: "line__label" });
    const value = element("span", { class: "line__value numeric" });
    const button = element("button", { class: "line__item", type: "button", title: "Show or hide this line" }, swatch, label, value);
    button.addEventListener("click", () => this.toggle(line.key));
    return { node: element("li", {}, button), button, swatch, label, value, widest: 0 };
  }

  #update(part, line) {
    const slot = this.#slots.get(line.key);
    setStyle(part.swatch, "--swatch", `var(${seriesVariable(slot)})`);
    setAttribute(part.swatch, "data-dashed", slot >= SERIES_COLOURS);
    setAttribute(part.button, "aria-pressed", this.#hidden.has(line.key) ? "false" : "true");
    setText(part.label, line.label);
    setText(part.value, line.text);
    if (line.text.length > part.widest) {
      part.widest = line.text.length;
      setStyle(part.value, "min-width", `${part.widest}ch`);
    }
  }
}
