// The statistics as tiles with small bars, one per second of the last minute.

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
    this.#showText("frames-rate", formatNumber(rates.frames, "", rates.frames < 100 ? 1 : 0));
    this.#showText("frames-total", `${count(statistics.frames)} in, ${count(statistics.sentFrames)} out`);
    this.#showText("metrics-rate", formatNumber(rates.metrics, "", rates.metrics < 100 ? 1 : 0));
    const mean = statistics.dataFrames ? statistics.metrics / statistics.dataFrames : 0;
    this.#showText("metrics-total", `${count(statistics.metrics)}, ${mean ? formatNumber(mean, "", 1) : "–"} a frame`);
    this.#showText("bytes-rate", formatBytes(Math.round(rates.bytes)));
    this.#showText("bytes-total", `${formatBytes(statistics.bytes)} in, ${formatBytes(statistics.sentBytes)} out`);
    const ages = statistics.ages(nowMs);
    this.#showText("age-p50", formatNumber(ages?.p50, "ms"));
    this.#showText("age-rest", `p95 ${formatNumber(ages?.p95, "ms")}, max ${formatNumber(ages?.oldest, "ms")}`);
    this.#showText("gaps", count(statistics.gaps));
    this.#showText("errors", count(statistics.errors));
    this.#showText("trouble", this.#describeMissing(count));
    setAttribute(this.parts.get("gaps"), "data-level", statistics.gaps ? "warn" : null);
    setAttribute(this.parts.get("errors"), "data-level", statistics.errors ? "bad" : null);
    for (const key of ["frames", "metrics", "bytes"]) this.#paintBars(key, statistics.history(key, nowMs));
    this.#paintBars("age", statistics.ageHistory(nowMs));
  }

  #describeMissing(count) {
    const { gaps, dropped, droppedUnknown } = this.statistics;
    if (gaps === 0) return "no metrics missing";
    return `${count(dropped)}${droppedUnknown ? " or more" : ""} metrics missing`;
  }

  #showText(name, text) {
    setText(this.parts.get(name), text);
  }

  #paintBars(key, values) {
    const most = Math.max(...values);
    const pieces = values.map((value, place) => {
      if (value <= 0) return "";
      // A second with any value at all stays visible.
      const height = Math.max(1, (value / most) * HEIGHT);
      return `M${place * 3} ${HEIGHT}v${-height.toFixed(1)}h2v${height.toFixed(1)}z`;
    });
    setAttribute(this.bars.get(key), "d", pieces.join(""));
  }
}
