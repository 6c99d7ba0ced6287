// The few readings that fit into one panel as large figures: one per source, with labels if there are several.

import { levelOf, worst } from "../client/levels.js";
import { describeLeft } from "../client/readings.js";
import { element, KeyedList, setAttribute, setText } from "./dom.js";

/** With more readings the panel says how many are left out. */
export const MAX_READINGS = 3;

export class ReadingGroup {
  /**
   * @param {object} panel
   * @param {HTMLElement} host
   * @param {string} className of the list
   * @param {() => object} create returns the part of one reading
   * @param {(part: object, reading: object) => void} update
   */
  constructor(panel, host, className, create, update) {
    this.panel = panel;
    this.list = element("div", { class: className });
    this.more = element("p", { class: "panel__more", hidden: true });
    host.append(this.list, this.more);
    this.readings = new KeyedList(this.list, create, update);
    this.total = 0;
    this.labelled = false;
  }

  /**
   * @param {object[]} readings
   * @param {Chosen} chosen
   * @returns {string} the worst level of the readings shown
   */
  show(readings, chosen) {
    const shown = readings.slice(0, MAX_READINGS);
    const left = describeLeft(chosen);
    this.total = readings.length;
    this.labelled = readings.length > 1 || left !== "";
    setAttribute(this.list, "data-count", shown.length);
    this.readings.show(shown);
    setAttribute(this.more, "hidden", left === "");
    setText(this.more, left);
    return worst(shown.map((reading) => levelOf(reading.value, this.panel)));
  }
}
