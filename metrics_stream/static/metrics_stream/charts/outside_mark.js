// The mark of a number outside the bounds of its field.

import { element, levelIcon, setAttribute, setLevelIcon, setText } from "./dom.js";

export class OutsideMark {
  constructor() {
    this.text = element("span");
    const icon = levelIcon();
    setLevelIcon(icon, "warn");
    this.node = element("p", { class: "outside", hidden: true }, icon, this.text);
  }

  /** @param {string} words such as "outside 0 % to 100 %"; empty hides the mark */
  show(words) {
    setAttribute(this.node, "hidden", words === "");
    setText(this.text, words);
  }
}
