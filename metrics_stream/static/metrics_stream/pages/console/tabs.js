// Tabs: the arrow keys move between them, the Tab key moves into the pane.

import { setAttribute } from "../../charts/dom.js";

export class Tabs {
  /** @param {HTMLElement} list the element with role tablist */
  constructor(list) {
    this.tabs = [...list.querySelectorAll('[role="tab"]')];
    this.list = list;
  }

  start() {
    for (const tab of this.tabs) tab.addEventListener("click", () => this.choose(tab.id));
    this.list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const current = this.tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
      const next = this.tabs[(current + step + this.tabs.length) % this.tabs.length];
      this.choose(next.id);
      next.focus();
    });
  }

  /** @param {string} id of the tab */
  choose(id) {
    for (const tab of this.tabs) {
      const chosen = tab.id === id;
      setAttribute(tab, "aria-selected", String(chosen));
      setAttribute(tab, "tabindex", chosen ? "0" : "-1");
      setAttribute(document.getElementById(tab.getAttribute("aria-controls")), "hidden", !chosen);
    }
  }
}
