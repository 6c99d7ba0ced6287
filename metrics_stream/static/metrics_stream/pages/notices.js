// Short news at the edge of the page: what was skipped, what went wrong. Room: pages.

import { element, setText } from "../charts/dom.js";

/** More notes than this at once would cover the page; the oldest goes. */
const MOST_NOTES = 3;

/** How long a note that needs no answer stays, in milliseconds. */
const SHOWN_MS = 12_000;

export class Notes {
  #notes = new Map();

  /** @param {HTMLElement} host */
  constructor(host) {
    this.host = host;
  }

  /**
   * Show a note; one with the same key is replaced.
   *
   * @param {string} key
   * @param {"info" | "warning" | "error"} level errors stay until they are dismissed
   * @param {...(string | Node)} content
   */
  show(key, level, ...content) {
    let note = this.#notes.get(key);
    if (!note) {
      note = this.#create(key);
      this.#notes.set(key, note);
      this.host.append(note.node);
      if (this.#notes.size > MOST_NOTES) this.hide(this.#notes.keys().next().value);
    }
    clearTimeout(note.timer);
    note.node.dataset.level = level;
    if (content.length === 1 && typeof content[0] === "string") setText(note.text, content[0]);
    else note.text.replaceChildren(...content);
    note.timer = level === "error" ? null : setTimeout(() => this.hide(key), SHOWN_MS);
  }

  /** @param {string} key */
  hide(key) {
    const note = this.#notes.get(key);
    if (!note) return;
    clearTimeout(note.timer);
    note.node.remove();
    this.#notes.delete(key);
  }

  stop() {
    for (const key of [...this.#notes.keys()]) this.hide(key);
  }

  #create(key) {
    const text = element("p", { class: "note__text" });
    const button = element("button", { class: "note__close", type: "button", "aria-label": "Dismiss" }, "×");
    button.addEventListener("click", () => this.hide(key));
    return { node: element("div", { class: "note note--floating" }, text, button), text, timer: null };
  }
}
