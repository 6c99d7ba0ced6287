// Plain text that an admin wrote; blank lines separate paragraphs.

import { element } from "./dom.js";

export class TextChart {
  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    const paragraphs = String(panel.options.text ?? "").split(/\n\s*\n/);
    host.append(element("div", { class: "prose" }, ...paragraphs.map((text) => element("p", {}, text.trim()))));
  }

  /** @returns {boolean} */
  paint() {
    return true;
  }

  stop() {}
}
