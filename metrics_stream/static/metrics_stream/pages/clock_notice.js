// Say which sources have a clock that is off: once in a notice, and for as long as it lasts in the choice of sources.

import { formatDuration } from "../client/format.js";

/** A notice names so many sources. */
const MOST_NAMED = 3;

export class ClockNotice {
  #shownKey = "";

  /** @param {Notices} notices @param {SourcePicker} picker */
  constructor(notices, picker) {
    this.notices = notices;
    this.picker = picker;
  }

  /** @param {Map<string, number>} wrong by how many seconds each clock that is off is ahead, by source */
  show(wrong) {
    // Rounded, so that the texts stay calm.
    const words = new Map([...wrong].sort().map(([source, seconds]) => [source, describe(seconds)]));
    this.picker.mark(words);
    const key = [...words].join("\u0000");
    if (key === this.#shownKey) return;
    this.#shownKey = key;
    if (words.size) this.notices.show("clocks", "warning", this.#describeAll(words));
    else this.notices.hide("clocks");
  }

  #describeAll(words) {
    const named = [...words].slice(0, MOST_NAMED).map(([source, how]) => `the clock of ${source} is ${how}`);
    const more = words.size - named.length;
    const rest = more > 0 ? ` and ${more} more ${more === 1 ? "is" : "are"} off` : "";
    const text = `${named.join(", ")}${rest}.`;
    const whose = words.size === 1 ? "Its" : "Their";
    return `${text[0].toUpperCase()}${text.slice(1)} ${whose} metrics are drawn at the time when they arrived.`;
  }
}

/** @param {number} seconds @returns {string} "30 min ahead" */
function describe(seconds) {
  return `${formatDuration(Math.abs(seconds) * 1000)}\u00a0${seconds > 0 ? "ahead" : "behind"}`;
}
