// The raw sender: sends any text. It has templates, a hint, and the texts sent before.

import { element, setAttribute, setText } from "../../charts/dom.js";
import { formatBytes } from "../../client/format.js";
import { hintFor, shorten, templates } from "./messages.js";

const MAX_SENT = 20;

const encoder = new TextEncoder();

export class Composer {
  #sentTexts = [];

  /**
   * @param {HTMLElement} root
   * @param {object} options
   * @param {(text: string) => boolean} options.send
   * @param {() => string[]} options.metricTypes the existing types
   * @param {Record<string, string[]>} options.clientMessages the keys of each message beside `type` and `ref`
   */
  constructor(root, { send, metricTypes, clientMessages }) {
    this.root = root;
    this.send = send;
    this.metricTypes = metricTypes;
    this.clientMessages = clientMessages;
    const find = (name) => root.querySelector(`[data-${name}]`);
    this.form = find("composer");
    this.text = find("text");
    this.hint = find("hint");
    this.size = find("size");
    this.button = find("send");
    this.history = find("history");
    this.historyEmpty = find("history-empty");
    this.limits = null;
  }

  start() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sendText();
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#sendText();
    });
    this.text.addEventListener("input", () => this.#showHint());
    this.#showTemplates();
    this.#showHint();
    this.setOpen(false);
  }

  /** @param {string} text */
  put(text) {
    this.text.value = text;
    this.text.focus();
    this.#showHint();
  }

  /** @param {boolean} open whether there is a connection */
  setOpen(open) {
    setAttribute(this.button, "disabled", !open);
    setText(this.button, open ? "Send" : "Not connected");
  }

  /** @param {object | null} limits as in the welcome */
  setLimits(limits) {
    this.limits = limits;
    this.#showHint();
  }

  #sendText() {
    const text = this.text.value;
    if (!this.send(text)) return;
    this.#sentTexts = [text, ...this.#sentTexts.filter((each) => each !== text)].slice(0, MAX_SENT);
    this.#showSentTexts();
  }

  #showHint() {
    const text = this.text.value;
    const { level, words } = hintFor(text, this.metricTypes(), this.clientMessages);
    const bytes = encoder.encode(text).length;
    const most = this.limits?.message_bytes;
    const tooBig = most !== undefined && bytes > most;
    setText(this.hint, tooBig ? `More than ${formatBytes(most)}: the server closes with 4509.` : words);
    setAttribute(this.hint, "data-level", tooBig ? "warn" : level);
    setText(this.size, most === undefined ? formatBytes(bytes) : `${formatBytes(bytes)} of ${formatBytes(most)}`);
  }

  #showTemplates() {
    const host = this.root.querySelector("[data-templates]");
    const all = templates(this.clientMessages);
    for (const group of new Set(all.map((template) => template.group))) {
      const items = all.filter((template) => template.group === group);
      const buttons = items.map(({ name, text }) => {
        const button = element("button", { class: "chip", type: "button" }, name);
        button.addEventListener("click", () => this.put(text));
        return button;
      });
      host.append(
        element("p", { class: "composer__group" }, group),
        element("div", { class: "chips chips--all" }, ...buttons),
      );
    }
  }

  #showSentTexts() {
    setAttribute(this.historyEmpty, "hidden", this.#sentTexts.length > 0);
    this.history.replaceChildren(
      ...this.#sentTexts.map((text) => {
        const button = element("button", { class: "sent__item", type: "button", title: "Put into the editor" });
        button.append(element("code", {}, shorten(text.replace(/\s+/g, " ").trim(), 200) || "(empty)"));
        button.addEventListener("click", () => this.put(text));
        return element("li", {}, button);
      }),
    );
  }
}
