// The statistics as tiles with small bars, one per second of the last minute. Room: pages/console.

import { setAttribute, setText, svgElement } from "../../charts/dom.js";
import { formatBytes, formatNumber } from "../../client/format.js";
import { WINDOW_SECONDS } from "./statistics.js";

const HEIGHT = 24;

export class Tiles {
  /** @param {HTMLElement} root @param {Statistics} statistics */
  constructor(root, statistics) {
    this.statistics = statistics;
    this.parts = new Map([...root.querySelectorAll("[data-statistic]")].map((node) => [node.dataset.statistic, node]));
    this.bars = new Map(
      [...root.querySelectorAll("[data-bars]")].map((node) => {
        const path = svgElement("path");
        const viewBox = `0 0 ${WINDOW_SECONDS * 3} ${HEIGHT}`;
        node.append(svgElement("svg", { viewBox, preserveAspectRatio: "none" }, path));
        return [node.dataset.bars, path];
      }),
    );
  }

  /** @param {number} nowMs local time */
  show(nowMs) {
    const { statistics } = this;
    const rates = statistics.rates(nowMs);
    const count = (number) => number.toLocaleString("en");
    this.#set("frames-rate", formatNumber(rates.frames, "", rates.frames < 100 ? 1 : 0));
    this.#set("frames-total", `${count(statistics.frames)} in, ${count(statistics.sentFrames)} out`);
    this.#set("metrics-rate", formatNumber(rates.metrics, "", rates.metrics < 100 ? 1 : 0));
    const mean = statistics.dataFrames ? statistics.metrics / statistics.dataFrames : 0;
    this.#set("metrics-total", `${count(statistics.metrics)}, ${mean ? formatNumber(mean, "", 1) : "–"} a frame`);
    this.#set("bytes-rate", formatBytes(Math.round(rates.bytes)));
    this.#set("bytes-total", `${formatBytes(statistics.bytes)} in, ${formatBytes(statistics.sentBytes)} out`);
    const ages = statistics.ages(nowMs);
    this.#set("age-p50", formatNumber(ages?.p50, "ms"));
    this.#set("age-rest", `p95 ${formatNumber(ages?.p95, "ms")}, max ${formatNumber(ages?.oldest, "ms")}`);
    this.#set("gaps", count(statistics.gaps));
    this.#set("errors", count(statistics.errors));
    this.#set("trouble", this.#missing(count));
    setAttribute(this.parts.get("gaps"), "data-level", statistics.gaps ? "warn" : null);
    setAttribute(this.parts.get("errors"), "data-level", statistics.errors ? "bad" : null);
    for (const key of ["frames", "metrics", "bytes"]) this.#paint(key, statistics.history(key, nowMs));
    this.#paint("age", statistics.ageHistory(nowMs));
  }

  #missing(count) {
    const { gaps, dropped, droppedUnknown } = this.statistics;
    if (gaps === 0) return "no metrics missing";
    return `${count(dropped)}${droppedUnknown ? " or more" : ""} metrics missing`;
  }

  #set(name, text) {
    setText(this.parts.get(name), text);
  }

  #paint(key, values) {
    const most = Math.max(...values);
    const pieces = values.map((value, place) => {
      if (value <= 0) return "";
      // A second with anything at all is never invisible.
      const height = Math.max(1, (value / most) * HEIGHT);
      return `M${place * 3} ${HEIGHT}v${-height.toFixed(1)}h2v${height.toFixed(1)}z`;
    });
    setAttribute(this.bars.get(key), "d", pieces.join(""));
  }
}
