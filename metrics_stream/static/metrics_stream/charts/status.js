// A list of states: each has a shape, a colour and a word.

import { formatValue } from "../client/format.js";
import { levelOf, levelOfWord, worst } from "../client/levels.js";
import { lookUp } from "../client/path.js";
import { choose, countStates, describeLeft, nameOf, readingsOf } from "../client/readings.js";
import { statedUnit } from "../client/units.js";
import { element, KeyedList, LEVEL_WORDS, levelIcon, setAttribute, setLevelIcon, setText } from "./dom.js";

/** Fields that name an agent or its state; the other fields are details. */
const NAMES = new Set(["agent_id", "agent_name", "status"]);

/** More are not read one by one; the worst are shown, and the summary counts all. */
const MAX_STATES = 100;

export class StatusChart {
  /** @param {object} panel @param {HTMLElement} host */
  constructor(panel, host) {
    this.panel = panel;
    this.more = element("p", { class: "panel__more", hidden: true });
    this.summary = element("p", { class: "states__summary" });
    this.list = element("ul", { class: "states" });
    host.append(this.summary, this.list, this.more);
    this.rows = new KeyedList(this.list, createState, updateState);
  }

  /** @param {{store: Store, source: string | null}} frame @returns {boolean} */
  paint({ store, source }) {
    const chosen = choose(store, this.panel, source, MAX_STATES);
    const states = statesOf(store, this.panel, source, chosen.shown);
    const others = chosen.left.map(({ data }) => data.status ?? "unknown");
    setText(this.summary, countStates([...states.map(({ word }) => word), ...others, ...chosen.countedWords], " · "));
    this.rows.show(states);
    const left = describeLeft(chosen);
    setAttribute(this.more, "hidden", left === "");
    setText(this.more, left);
    this.level = worst(states.map((state) => state.level));
    return states.length > 0;
  }

  stop() {}
}

/**
 * Return the states of a panel: one per row, or one per field where the type has no rows.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {string | null} source
 * @param {Latest[]} present the sources and rows to show
 * @returns {{key: string, name: string, word: string, level: string, detail: string}[]}
 */
export function statesOf(store, panel, source, present) {
  const entries = present.filter((latest) => latest.row !== null);
  if (entries.length === 0) return fieldStates(readingsOf(store, panel, source, present), panel);
  const severalSources = new Set(entries.map((entry) => entry.source)).size > 1;
  const fields = panel.fields.filter((field) => !NAMES.has(field.path));
  const unitOf = (field, units) => panel.unit || statedUnit(units, field.path) || field.unit;
  return entries.map(({ source: from, row, data, units }) => {
    const name = nameOf({ row, data });
    const word = String(data.status ?? "unknown");
    const details = fields.map(
      (field) => `${field.label} ${formatValue(lookUp(data, field.path), unitOf(field, units), panel.decimals)}`,
    );
    return {
      key: `${from}\u0000${row}`,
      name: severalSources ? `${name} · ${from}` : name,
      word: word.charAt(0).toUpperCase() + word.slice(1),
      level: levelOfWord(word),
      detail: details.join(" · "),
    };
  });
}

function fieldStates(readings, panel) {
  return readings.map(({ key, label, value, unit, unitAt, outside }) => {
    const number = typeof value === "number";
    const level = number ? levelOf(value, panel) : levelOfWord(value);
    const text = formatValue(value, unit, panel.decimals, unitAt);
    return { key, name: label, level, word: number ? LEVEL_WORDS[level] : text, detail: number ? [text, outside].filter(Boolean).join(", ") : "" };
  });
}

function createState() {
  const icon = levelIcon();
  const name = element("span", { class: "states__name" });
  const word = element("span", { class: "states__word" });
  const detail = element("span", { class: "states__detail numeric" });
  return { node: element("li", { class: "states__row" }, icon, name, detail, word), icon, name, word, detail };
}

function updateState(part, state) {
  setLevelIcon(part.icon, state.level);
  setAttribute(part.node, "data-level", state.level);
  setText(part.name, state.name);
  setText(part.word, state.word);
  setText(part.detail, state.detail);
}
