// The phases of the replayed test run, as buttons below the slider: each goes to the start of its phase.

import { setAttribute, setText } from "../charts/dom.js";

/**
 * @typedef {object} Phase
 * @property {string} name
 * @property {number} startMs
 * @property {number | null} endMs null while it goes on
 */

export class Phases {
  #remove = null;
  #shown = null;

  /** @param {HTMLElement} bar the element that gets the buttons @param {(atMs: number) => void} seek */
  constructor(bar, seek) {
    this.bar = bar;
    this.seek = seek;
  }

  start() {
    const listener = ({ target }) => {
      const phase = this.#shown?.[[...this.bar.children].indexOf(target.closest("button"))];
      if (phase) this.seek(phase.startMs);
    };
    this.bar.addEventListener("click", listener);
    this.#remove = () => this.bar.removeEventListener("click", listener);
  }

  stop() {
    this.#remove?.();
  }

  /** Show the phases of a run, and which one it is now. @param {Phase[]} phases @param {number} atMs */
  show(phases, atMs) {
    if (phases !== this.#shown) {
      this.#shown = phases;
      this.bar.replaceChildren(...phases.map((phase) => this.#makeButton(phase)));
      setAttribute(this.bar, "hidden", phases.length === 0);
    }
    phases.forEach(({ startMs, endMs }, index) => {
      const isNow = startMs <= atMs && atMs < (endMs ?? Infinity);
      setAttribute(this.bar.children[index], "aria-current", isNow ? "true" : null);
    });
  }

  #makeButton({ name }) {
    const button = this.bar.ownerDocument.createElement("button");
    button.type = "button";
    button.className = "timebar__phase";
    setText(button, name);
    button.title = `Go to the start of ${name}`;
    return button;
  }
}
