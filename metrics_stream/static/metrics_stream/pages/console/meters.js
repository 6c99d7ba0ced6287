// The limits of the connection, and how close they are.

import { setAttribute, setText } from "../../charts/dom.js";
import { formatBytes } from "../../client/format.js";

export class Meters {
  /** @param {HTMLElement} root @param {LimitUsage} limitUsage */
  constructor(root, limitUsage) {
    this.limitUsage = limitUsage;
    this.items = new Map(
      [...root.querySelectorAll("[data-limit]")].map((node) => [
        node.dataset.limit,
        { node, words: node.querySelector("[data-limit-words]"), hint: node.querySelector("[data-limit-hint]") },
      ]),
    );
  }

  /** @param {number} nowMs local time */
  show(nowMs) {
    const { limits } = this.limitUsage;
    if (!limits) {
      this.#showItem("messages", "–", "Shown after the server’s welcome.", null);
      this.#showItem("errors", "–", "", null);
      return;
    }
    const { message_burst: burst, errors_per_minute: most, message_bytes: bytes } = limits;
    const left = Math.floor(this.limitUsage.messagesLeft(nowMs));
    const messagesHint = `${limits.messages_per_second} more each second. Beyond, the server closes with 4029.`;
    this.#showItem("messages", `${left} of ${burst}`, messagesHint, left < burst / 4 ? "bad" : null);
    const errors = this.limitUsage.errors(nowMs);
    const errorsHint = `The server closes with 4501 at ${most}; with 4509 at more than ${formatBytes(bytes)}.`;
    this.#showItem(
      "errors",
      `${errors} of ${most}`,
      errorsHint,
      errors === 0 ? null : errors >= most - 1 ? "bad" : "warn",
    );
  }

  #showItem(name, words, hint, level) {
    const item = this.items.get(name);
    setText(item.words, words);
    setText(item.hint, hint);
    setAttribute(item.node, "data-level", level);
  }
}
