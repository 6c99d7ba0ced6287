// What makes the figures of a page doubtful: a load generator at its limits, and sources with several producers.

import { KeyedList, element, levelIcon, setAttribute, setLevelIcon, setText } from "../charts/dom.js";
import { formatNumber } from "../client/format.js";
import { Judge } from "../client/validity.js";

/** More would cover the page; the others are counted. */
const MAX_SHOWN = 5;

const METRIC_TYPE = "system";

export class Doubts {
  #conflicts = [];
  #list;
  #isLive = true;

  /** @param {HTMLElement | null} host @param {object} validity the rules */
  constructor(host, validity) {
    this.host = host;
    this.validity = validity;
    this.judge = new Judge(validity);
    if (host !== null) this.#list = new KeyedList(host.querySelector("[data-doubts-list]"), createItem, updateItem);
  }

  /** @param {object} metric one that is shown @param {number} nowMs */
  add(metric, nowMs) {
    const data = metric?.data;
    if (metric?.metric_type !== METRIC_TYPE || data === null || typeof data !== "object") return;
    this.judge.observe(metric.source, Date.parse(metric.timestamp), data, nowMs);
  }

  /** @param {{metric_type: string, source: string, producers: number}[]} conflicts */
  setConflicts(conflicts) {
    this.#conflicts = Array.isArray(conflicts) ? conflicts : [];
  }

  /**
   * @param {number} nowMs
   * @param {string | null} source only this one
   * @param {boolean} isLive conflicts concern live metrics only
   */
  show(nowMs, source, isLive) {
    if (this.host === null) return;
    // What was doubtful live says nothing of a replay, nor the other way round.
    if (isLive !== this.#isLive) this.judge = new Judge(this.validity);
    this.#isLive = isLive;
    const conflicts = (isLive ? this.#conflicts : []).map((conflict) => ({ ...conflict, text: describe(conflict) }));
    const doubts = this.judge.current(nowMs).map((doubt) => ({ source: doubt.source, text: wordsOf(doubt) }));
    const all = [...conflicts, ...doubts].filter((item) => source === null || item.source === source);
    const shown = all.slice(0, MAX_SHOWN).map((item, index) => ({ key: String(index), text: item.text }));
    if (all.length > MAX_SHOWN) shown.push({ key: "more", text: `and ${all.length - MAX_SHOWN} more` });
    this.#list.show(shown);
    setAttribute(this.host, "hidden", shown.length === 0 ? "" : null);
  }
}

function describe({ metric_type: metricType, source, producers }) {
  return (
    `${producers} programs publish ${metricType} metrics as ${source} at the same time: ` +
    "their numbers are mixed; give each its own source"
  );
}

function wordsOf({ rule, source, value }) {
  const words = { source, value: formatNumber(value, rule.unit) };
  const text = rule.words.replace(/\{(source|value)\}/g, (_, name) => words[name]);
  return text[0].toUpperCase() + text.slice(1);
}

function createItem() {
  const icon = levelIcon();
  setLevelIcon(icon, "warn");
  const text = element("span");
  return { node: element("li", { class: "doubts__item" }, icon, text), text };
}

function updateItem(part, { text }) {
  setText(part.text, text);
}
