// Which lines a chart draws where there are too many: the worst, by the states of agents and the thresholds of the panel.

import { levelOf, severityOf } from "./levels.js";
import { keyOfLine } from "./readings.js";

/** More lines cannot be told apart; a text says how many there are. */
const MAX_LINES = 16;

/** How often lines are chosen: a choice that changes all the time cannot be read. */
const CHOICE_MS = 10_000;

export class LineChoice {
  /** @type {Set<string>} the keys of the chosen lines */
  #chosen = new Set();
  #chosenAtMs = -Infinity;

  /** @param {object} panel */
  constructor(panel) {
    this.panel = panel;
  }

  /**
   * Return the lines to draw, in the order in which they came.
   *
   * @param {{field: Field, series: Series}[]} all
   * @returns {{field: Field, series: Series}[]}
   */
  choose(all) {
    if (all.length <= MAX_LINES) return all;
    const nowMs = performance.now();
    const chosen = all.filter((line) => this.#chosen.has(keyOfLine(line)));
    if (chosen.length === MAX_LINES && nowMs - this.#chosenAtMs < CHOICE_MS) return chosen;
    const ranked = all.map((line) => {
      const { severity, lastValue } = line.series;
      const rank = Math.min(severity, severityOf(levelOf(lastValue, this.panel)));
      return { line, rank, isDrawn: this.#chosen.has(keyOfLine(line)) };
    });
    // Of equally bad lines those that are drawn stay.
    ranked.sort((a, b) => a.rank - b.rank || Number(b.isDrawn) - Number(a.isDrawn));
    this.#chosen = new Set(ranked.slice(0, MAX_LINES).map(({ line }) => keyOfLine(line)));
    this.#chosenAtMs = nowMs;
    return all.filter((line) => this.#chosen.has(keyOfLine(line)));
  }
}
