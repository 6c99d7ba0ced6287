// Short notices at the edge of the page: skipped metrics, errors.

import { element, setText } from "../charts/dom.js";

/** More notices at once would cover the page: the oldest one is removed. */
const MAX_NOTICES = 3;

/** How long a notice that is not an error stays. */
const SHOWN_MS = 12_000;

export class Notices {
  #notices = new Map();

  /** @param {HTMLElement} host */
  constructor(host) {
    this.host = host;
  }

  /**
   * Show a notice; it replaces one with the same key.
   *
   * @param {string} key
   * @param {"info" | "warning" | "error"} level errors stay until they are dismissed
   * @param {...(string | Node)} content
   */
  show(key, level, ...content) {
    let notice = this.#notices.get(key);
    if (!notice) {
      notice = this.#create(key);
      this.#notices.set(key, notice);
      this.host.append(notice.node);
      if (this.#notices.size > MAX_NOTICES) this.hide(this.#notices.keys().next().value);
    }
    clearTimeout(notice.timer);
    notice.node.dataset.level = level;
    if (content.length === 1 && typeof content[0] === "string") setText(notice.text, content[0]);
    else notice.text.replaceChildren(...content);
    notice.timer = level === "error" ? null : setTimeout(() => this.hide(key), SHOWN_MS);
  }

  /** @param {string} key */
  hide(key) {
    const notice = this.#notices.get(key);
    if (!notice) return;
    clearTimeout(notice.timer);
    notice.node.remove();
    this.#notices.delete(key);
  }

  stop() {
    for (const key of [...this.#notices.keys()]) this.hide(key);
  }

  #create(key) {
    const text = element("p", { class: "notice__text" });
    const button = element("button", { class: "notice__close", type: "button", "aria-label": "Dismiss" }, "×");
    button.addEventListener("click", () => this.hide(key));
    return { node: element("div", { class: "notice notice--floating" }, text, button), text, timer: null };
  }
}
