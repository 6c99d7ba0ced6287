// The page Explore: every type, source, row and field that was seen lately, and the chart of one of them. It is an
// ordinary client of the stream: what it may not see does not come.

import { setAttribute, setText } from "../charts/dom.js";
import { Catalogue } from "../client/catalogue.js";
import { Connection } from "../client/connection.js";
import { socketUrl } from "../client/socket_url.js";
import { ConnectionBadge } from "./connection_badge.js";
import { LineView, metricsIn } from "./explore/chart.js";
import { List } from "./explore/list.js";
import { compareLines, Seen, valueOf } from "./explore/seen.js";
import { isSame, readState, writeState } from "./explore/state.js";
import { compareNames } from "../client/names.js";

/** How often values, ages and rates are brought up to date; faster changes cannot be read. */
const DRAW_MS = 1_000;

/** A hidden page costs little. */
const REST_AFTER_MS = 5_000;

/** Before that, an empty page waits: the newest metrics come at once where there are any. */
const EMPTY_AFTER_MS = 1_500;

/** Rows of which nothing came for longer are forgotten. */
const KEPT_MS = 900_000;

class ExplorePage {
  #found = { key: null, total: 0, lines: [] };
  #ordered = { found: null, key: "", lines: [] };
  #restTimer = null;
  #welcomedAtMs = null;

  /** @param {object} config the page configuration @param {Document} page */
  constructor(config, page) {
    this.page = page;
    const root = page.querySelector("[data-explore]");
    this.find = (name) => root.querySelector(`[data-${name}]`);
    this.catalogue = new Catalogue(config.catalogue);
    this.seen = new Seen();
    const url = socketUrl(config.socket_path, location);
    this.connection = new Connection(url);
    this.badge = new ConnectionBadge(page.querySelector("[data-connection]"), this.connection);
    this.list = new List(this.find("lines"), {
      catalogue: this.catalogue,
      now: () => this.connection.clock.now(),
      choose: (line) => this.#choose(line),
      staleMs: config.stale_after_seconds * 1000,
    });
    this.view = new LineView(this.find("chart-card"), {
      url,
      historySeconds: config.history_seconds,
      catalogue: this.catalogue,
      close: () => this.#setState({ chosen: null }, { isStep: true }),
    });
    this.state = readState(location.search);
  }

  start() {
    const { connection } = this;
    this.badge.start();
    connection.on("message", (message) => this.#take(message));
    connection.setBatching({ mode: "all", batch_size: 1000 });
    connection.setUpdateInterval(1);
    // `all` has the types to come, too; the others are those about the service itself.
    connection.subscribe(["all", ...this.catalogue.slugs]);
    this.#listen();
    this.#showState();
    connection.start();
    setInterval(() => this.page.hidden || this.#draw(), DRAW_MS);
  }

  #listen() {
    const search = this.find("search");
    search.addEventListener("input", () => this.#setState({ query: search.value.trim() }));
    for (const button of this.page.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset.sort));
    }
    this.find("sort-select").addEventListener("change", (event) => this.#setState(readSort(event.target.value)));
    addEventListener("popstate", () => {
      this.state = readState(location.search);
      this.#showState();
    });
    addEventListener("online", () => this.connection.retryNow());
    addEventListener("pagehide", () => {
      this.connection.stop("the page was left");
      this.view.stop();
    });
    addEventListener("pageshow", (event) => event.persisted && location.reload());
    this.page.documentElement.addEventListener("themechange", () => this.view.restyle());
    this.page.addEventListener("visibilitychange", () => {
      clearTimeout(this.#restTimer);
      if (this.page.hidden) this.#restTimer = setTimeout(() => this.connection.rest(), REST_AFTER_MS);
      else {
        this.connection.wake();
        this.#draw();
      }
    });
  }

  #take(message) {
    if (message.type === "welcome") this.#welcomedAtMs ??= performance.now();
    if (this.catalogue.take(message)) {
      this.view.refresh();
      this.#draw();
      return;
    }
    const nowMs = this.connection.clock.now();
    const before = this.seen.rowCount;
    for (const metric of metricsIn(message)) {
      const atMs = message.replayed ? Math.min(nowMs, Date.parse(metric?.timestamp) || nowMs) : nowMs;
      this.seen.add(metric, atMs, !message.replayed);
    }
    if (before === 0 && this.seen.rowCount > 0) this.#draw();
  }

  // ---- state ----

  #choose({ row, path }) {
    const chosen = { metricType: row.metricType, source: row.source, key: row.key, path };
    this.#setState({ chosen: isSame(chosen, this.state.chosen) ? null : chosen }, { isStep: true });
  }

  #sortBy(column) {
    // Names begin with A, numbers with the largest, ages with the newest.
    const isNumber = column === "value" || column === "rate";
    const isAgain = column === this.state.sort;
    this.#setState({ sort: column, isDescending: isAgain ? !this.state.isDescending : isNumber });
  }

  #setState(change, { isStep = false } = {}) {
    this.state = { ...this.state, ...change };
    const address = `${location.pathname}${writeState(this.state)}`;
    if (isStep) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
    this.#showState();
  }

  #showState() {
    const { query, sort, isDescending, chosen } = this.state;
    const search = this.find("search");
    if (search.value.trim() !== query) search.value = query;
    for (const header of this.page.querySelectorAll("[data-sort-header]")) {
      const isSorted = header.dataset.sortHeader === sort;
      setAttribute(header, "aria-sort", isSorted ? (isDescending ? "descending" : "ascending") : "none");
    }
    this.find("sort-select").value = `${isDescending ? "-" : ""}${sort}`;
    this.view.show(chosen);
    this.#draw();
  }

  // ---- drawing ----

  #draw() {
    const nowMs = this.connection.clock.now();
    this.seen.trim(nowMs - KEPT_MS);
    const lines = this.#findLines(nowMs);
    const { chosen } = this.state;
    this.list.chosenId = chosen === null ? null : (lines.find((line) => isSame(chosenOf(line), chosen))?.id ?? null);
    const { total } = this.#found;
    const isSearched = this.state.query !== "";
    setAttribute(this.find("table"), "hidden", total === 0);
    setAttribute(this.find("none-found"), "hidden", total === 0 || lines.length > 0);
    const waitedMs = this.#welcomedAtMs === null ? 0 : performance.now() - this.#welcomedAtMs;
    setAttribute(this.find("empty"), "hidden", total > 0 || waitedMs < EMPTY_AFTER_MS);
    const count = (number) => number.toLocaleString("en");
    const words = isSearched ? `${count(lines.length)} of ${count(total)} fields` : `${count(total)} fields`;
    const left = this.seen.leftOutCount;
    setText(this.find("count"), total === 0 ? "" : left ? `${words}; ${count(left)} rows more are not listed` : words);
    this.list.show(lines);
  }

  #findLines(nowMs) {
    const { query, sort, isDescending } = this.state;
    const found = this.#search(query);
    // What changes by itself is sorted anew each time, names only when there are others.
    if (NUMBERS.has(sort)) return sortByNumber(found, (line) => NUMBERS.get(sort)(line, nowMs), isDescending);
    const key = [sort, isDescending].join();
    if (this.#ordered.found !== found || this.#ordered.key !== key) {
      this.#ordered = { found, key, lines: [...found].sort(this.#comparison(sort, isDescending)) };
    }
    return this.#ordered.lines;
  }

  /** Return the lines that have all words of a query; the same list as long as it would be the same. */
  #search(query) {
    const key = [query, this.seen.version, this.catalogue.version].join("\u0000");
    if (key !== this.#found.key) {
      const words = query.toLowerCase().split(/\s+/).filter(Boolean);
      const has = (line) => words.every((word) => this.#textOf(line).includes(word));
      const all = this.seen.lines;
      this.#found = { key, total: all.length, lines: words.length ? all.filter(has) : all };
    }
    return this.#found.lines;
  }

  #textOf({ row, path }) {
    const field = this.catalogue.field(row.metricType, path)?.label ?? "";
    const type = this.catalogue.labelOf(row.metricType);
    return [row.metricType, type, row.source, row.label, path, field].join(" ").toLowerCase();
  }

  #comparison(sort, isDescending) {
    const sign = isDescending ? -1 : 1;
    const named = (name) => (a, b) => sign * compareNames(name(a), name(b)) || compareLines(a, b);
    switch (sort) {
      case "field":
        return named(({ row, path }) => this.catalogue.field(row.metricType, path)?.label ?? path);
      case "row":
        return named(({ row }) => row.label);
      case "source":
        return named(({ row }) => row.source);
      default:
        return (a, b) => sign * compareLines(a, b);
    }
  }
}

/** What changes with each metric, by the column. @type {Map<string, (line: Line, nowMs: number) => unknown>} */
const NUMBERS = new Map([
  ["value", (line) => valueOf(line)],
  ["age", ({ row }, nowMs) => nowMs - row.receivedAtMs],
  ["rate", ({ row }, nowMs) => row.rate.perSecond(nowMs)],
]);

/** Return lines by their numbers; those without one come last. */
function sortByNumber(lines, numberOf, isDescending) {
  const sign = isDescending ? -1 : 1;
  const numbered = lines.map((line) => {
    const number = numberOf(line);
    return { line, number: typeof number === "number" ? sign * number : Infinity };
  });
  // Lines with the same number keep their order.
  numbered.sort((a, b) => (a.number === b.number ? 0 : a.number - b.number));
  return numbered.map(({ line }) => line);
}

function chosenOf({ row, path }) {
  return { metricType: row.metricType, source: row.source, key: row.key, path };
}

function readSort(value) {
  return { sort: value.replace(/^-/, ""), isDescending: value.startsWith("-") };
}

const config = JSON.parse(document.getElementById("page-config").textContent);
new ExplorePage(config, document).start();
