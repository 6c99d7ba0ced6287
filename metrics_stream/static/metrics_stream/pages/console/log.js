// The log: every frame received and sent, bounded, with pause, search and copy.
//
// Frames are added at any rate; rows are created once per animation frame, and only for entries that are still kept.

import { element, setAttribute, setText } from "../../charts/dom.js";
import { formatBytes } from "../../client/format.js";
import { copyFrom } from "./clipboard.js";

/** Rows kept. At 100 frames a second they cover five seconds, enough to look back after pressing Pause. */
const MAX_ENTRIES = 500;

/** Characters kept; a frame can have a megabyte. */
const MAX_CHARACTERS = 8_000_000;

/** Characters shown of one frame; more would slow the page down, and Copy copies all of them. */
const MAX_SHOWN_CHARACTERS = 60_000;

/** Within this distance of its end, in pixels, the log follows new entries. */
const END_TOLERANCE_PX = 24;

const FILTERED_WORDS = "No entry matches the search and the kinds chosen above.";

const DIRECTIONS = {
  in: ["↓", "received"],
  out: ["↑", "sent"],
  event: ["•", "connection"],
};

/**
 * @typedef {object} Entry
 * @property {"in" | "out" | "event"} direction
 * @property {"metrics" | "reply" | "error" | "sent" | "event"} kind
 * @property {string} type
 * @property {string} summary one line
 * @property {string} text as sent or received, or what the event means
 * @property {number | null} bytes
 * @property {number} atMs
 * @property {"bad" | "warn" | "good" | null} [level]
 */

export class Log {
  #entries = [];
  #characters = 0;
  /** Entries added while paused. */
  #heldEntries = [];
  #heldCharacters = 0;
  #heldLost = 0;
  #unshownEntries = [];
  #frame = null;
  #hiddenKinds = new Set();
  #searchText = "";
  #isFollowing = true;
  #unseenCount = 0;
  #removedCount = 0;
  #activeRow = null;
  #isPaused = false;
  #searchTimer = null;

  /**
   * @param {HTMLElement} root
   * @param {HTMLElement} announcer
   * @param {(text: string) => void} onReuse puts a text into the composer
   */
  constructor(root, announcer, onReuse) {
    this.root = root;
    this.announcer = announcer;
    this.onReuse = onReuse;
    const find = (name) => root.querySelector(`[data-${name}]`);
    this.list = find("entries");
    this.empty = find("empty");
    this.emptyWords = find("empty-words");
    this.newest = find("newest");
    this.foot = find("foot");
    this.pauseButton = find("pause");
    this.searchField = find("search");
    this.copyButton = find("copy-visible");
    this.clearButton = find("clear");
    this.idleWords = "";
  }

  start() {
    this.pauseButton.addEventListener("click", () => this.#setPaused(!this.#isPaused));
    this.clearButton.addEventListener("click", () => this.clear());
    this.copyButton.addEventListener("click", () => copyFrom(this.copyButton, this.#visibleText(), this.announcer));
    this.newest.addEventListener("click", () => this.#followEnd());
    this.list.addEventListener("scroll", () => this.#handleScroll(), { passive: true });
    this.list.addEventListener("click", (event) => this.#handleClick(event));
    this.list.addEventListener("keydown", (event) => this.#handleKey(event));
    this.searchField.addEventListener("input", () => {
      clearTimeout(this.#searchTimer);
      this.#searchTimer = setTimeout(() => this.#setSearch(this.searchField.value), 150);
    });
    for (const button of this.root.querySelectorAll(".toggle[data-kind]")) {
      button.addEventListener("click", () => this.#toggleKind(button));
    }
    this.#updateTexts();
  }

  /** @param {Entry} entry */
  add(entry) {
    if (!this.#isPaused) {
      this.#keepEntry(entry);
      return;
    }
    this.#heldEntries.push(entry);
    this.#heldCharacters += entry.text.length;
    while (isOverLimit(this.#heldEntries, this.#heldCharacters)) {
      this.#heldCharacters -= this.#heldEntries.shift().text.length;
      this.#heldLost += 1;
    }
    this.#schedulePaint();
  }

  /** Remove all entries, those that wait included. */
  clear() {
    this.#entries = [];
    this.#heldEntries = [];
    this.#heldCharacters = this.#heldLost = 0;
    this.#unshownEntries = [];
    this.#characters = 0;
    this.#removedCount = 0;
    this.#unseenCount = 0;
    this.#setActive(null);
    this.#isFollowing = true;
    this.list.replaceChildren();
    this.#updateTexts();
  }

  /** @param {string} words the text of an empty log */
  setIdleWords(words) {
    this.idleWords = words;
    this.#updateTexts();
  }

  #keepEntry(entry) {
    this.#entries.push(entry);
    this.#unshownEntries.push(entry);
    this.#characters += entry.text.length;
    while (isOverLimit(this.#entries, this.#characters)) {
      const gone = this.#entries.shift();
      gone.isGone = true;
      this.#characters -= gone.text.length;
      this.#removedCount += 1;
    }
    // A hidden page gets no animation frames; the entries that wait for one must not grow.
    if (this.#unshownEntries.length > 2 * MAX_ENTRIES)
      this.#unshownEntries = this.#unshownEntries.filter((each) => !each.isGone);
    this.#schedulePaint();
  }

  #schedulePaint() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#paint();
    });
  }

  #paint() {
    const added = document.createDocumentFragment();
    for (const entry of this.#unshownEntries) {
      if (!entry.isGone && this.#matches(entry)) added.append(this.#makeRow(entry));
    }
    this.#unseenCount += this.#isFollowing ? 0 : added.childElementCount;
    this.#unshownEntries = [];
    this.#removeGone();
    this.list.append(added);
    if (this.#isFollowing) this.list.scrollTop = this.list.scrollHeight;
    this.#updateTexts();
  }

  #removeGone() {
    let row = this.list.firstElementChild;
    if (row === null || !row.entry.isGone) return;
    // Reading sizes costs a layout; it is needed only to keep the rows still that a person reads.
    const height = this.#isFollowing ? 0 : this.list.scrollHeight;
    while (row !== null && row.entry.isGone) {
      const next = row.nextElementSibling;
      if (row === this.#activeRow) this.#setActive(null);
      // A focused row that is removed must not move the focus back to the top of the page.
      if (row.contains(document.activeElement)) this.list.focus({ preventScroll: true });
      row.remove();
      row = next;
    }
    if (height > 0) this.list.scrollTop -= height - this.list.scrollHeight;
  }

  #makeRow(entry) {
    const [arrow, word] = DIRECTIONS[entry.direction];
    const head = element(
      "button",
      { class: "entry__head", type: "button", tabindex: "-1", "aria-expanded": "false" },
      element("span", { class: "entry__time" }, formatTime(entry.atMs)),
      element("span", { class: "entry__direction", "aria-hidden": "true" }, arrow),
      element("span", { class: "visually-hidden" }, word),
      element("span", { class: "entry__type" }, entry.type),
      element("span", { class: "entry__summary" }, entry.summary),
      element("span", { class: "entry__size" }, entry.bytes === null ? "" : formatBytes(entry.bytes)),
    );
    const row = element("li", { class: "entry", "data-kind": entry.kind, "data-level": entry.level ?? null }, head);
    row.entry = entry;
    return row;
  }

  // ---- one row ----

  #handleClick(event) {
    const row = event.target.closest(".entry");
    if (row === null) return;
    if (event.target.closest(".entry__head")) {
      this.#setActive(row);
      this.#toggleRow(row);
    }
    const copy = event.target.closest("[data-copy-entry]");
    if (copy) copyFrom(copy, row.entry.text, this.announcer);
    if (event.target.closest("[data-reuse-entry]")) this.onReuse(row.entry.text);
  }

  #toggleRow(row) {
    const head = row.querySelector(".entry__head");
    const open = head.getAttribute("aria-expanded") !== "true";
    setAttribute(head, "aria-expanded", String(open));
    row.querySelector(".entry__body")?.remove();
    if (!open) return;
    // A person reads this row: the log must stay where it is.
    this.#setFollowing(false);
    row.append(this.#makeBody(row.entry));
    row.scrollIntoView({ block: "nearest" });
  }

  #makeBody(entry) {
    const text = formatJson(entry.text);
    const more = text.length - MAX_SHOWN_CHARACTERS;
    const end = more > 0 ? `\n… ${more.toLocaleString("en")} more characters; Copy copies all of them.` : "";
    const body = element("div", { class: "entry__body" });
    if (entry.direction !== "event") {
      const tools = element("div", { class: "entry__tools" });
      const look = { class: "button button--small", type: "button" };
      tools.append(element("button", { ...look, "data-copy-entry": true }, "Copy"));
      if (entry.direction === "out") {
        tools.append(element("button", { ...look, "data-reuse-entry": true }, "Edit and send"));
      }
      body.append(tools);
    }
    body.append(element("pre", { class: "entry__text", tabindex: "0" }, text.slice(0, MAX_SHOWN_CHARACTERS) + end));
    return body;
  }

  #setActive(row) {
    if (this.#activeRow !== null) setAttribute(this.#activeRow.querySelector(".entry__head"), "tabindex", "-1");
    this.#activeRow = row;
    if (row !== null) setAttribute(row.querySelector(".entry__head"), "tabindex", "0");
    // Tab reaches the active row or, without one, the list.
    setAttribute(this.list, "tabindex", row === null ? "0" : "-1");
  }

  #handleKey(event) {
    if (event.target.closest(".entry__body") || event.ctrlKey || event.metaKey || event.altKey) return;
    const current = this.#activeRow?.isConnected ? this.#activeRow : null;
    const last = this.list.lastElementChild;
    const goals = {
      ArrowDown: () => (current ? current.nextElementSibling : last),
      ArrowUp: () => (current ? current.previousElementSibling : last),
      Home: () => this.list.firstElementChild,
      End: () => last,
    };
    const goal = goals[event.key]?.();
    if (!goals[event.key]) return;
    event.preventDefault();
    if (!goal) return;
    this.#setFollowing(goal === last && event.key === "End");
    this.#setActive(goal);
    goal.querySelector(".entry__head").focus({ preventScroll: true });
    goal.scrollIntoView({ block: "nearest" });
  }

  // ---- what is shown ----

  #matches(entry) {
    if (this.#hiddenKinds.has(entry.kind)) return false;
    return (
      this.#searchText === "" ||
      `${entry.type}\n${entry.summary}\n${entry.text}`.toLowerCase().includes(this.#searchText)
    );
  }

  #toggleKind(button) {
    const shown = button.getAttribute("aria-pressed") !== "true";
    setAttribute(button, "aria-pressed", String(shown));
    if (shown) this.#hiddenKinds.delete(button.dataset.kind);
    else this.#hiddenKinds.add(button.dataset.kind);
    this.#showAllAgain();
  }

  #setSearch(text) {
    this.#searchText = text.trim().toLowerCase();
    this.#showAllAgain();
  }

  #showAllAgain() {
    this.#setActive(null);
    this.list.replaceChildren();
    this.#unshownEntries = [...this.#entries];
    this.#followEnd();
    this.#paint();
  }

  #visibleText() {
    return [...this.list.children]
      .map(({ entry }) => `${new Date(entry.atMs).toISOString()} ${DIRECTIONS[entry.direction][1]} ${entry.text}`)
      .join("\n");
  }

  // ---- pause and follow ----

  #setPaused(paused) {
    this.#isPaused = paused;
    setAttribute(this.pauseButton, "aria-pressed", String(paused));
    setText(this.pauseButton, paused ? "Resume" : "Pause");
    if (!paused) {
      for (const entry of this.#heldEntries.splice(0)) this.#keepEntry(entry);
      this.#heldCharacters = this.#heldLost = 0;
    }
    this.#updateTexts();
  }

  #handleScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    this.#setFollowing(scrollHeight - scrollTop - clientHeight < END_TOLERANCE_PX);
  }

  #setFollowing(following) {
    if (following === this.#isFollowing) return;
    this.#isFollowing = following;
    if (following) this.#unseenCount = 0;
    this.#updateTexts();
  }

  #followEnd() {
    this.list.scrollTop = this.list.scrollHeight;
    this.#unseenCount = 0;
    this.#isFollowing = true;
    this.#updateTexts();
  }

  #updateTexts() {
    const rows = this.list.childElementCount;
    setAttribute(this.root, "data-paused", this.#isPaused);
    setAttribute(this.newest, "hidden", this.#isFollowing || rows === 0);
    setText(this.newest, this.#unseenCount ? `↓ ${this.#unseenCount.toLocaleString("en")} newer` : "↓ Newest");
    setAttribute(this.empty, "hidden", rows > 0);
    const filtered = this.#entries.length > 0 && rows === 0;
    setText(this.emptyWords, filtered ? FILTERED_WORDS : this.idleWords);
    setAttribute(this.copyButton, "disabled", rows === 0);
    setText(this.foot, this.#describeFoot(rows));
  }

  #describeFoot(rows) {
    const count = (number) => number.toLocaleString("en");
    const all = rows === this.#entries.length;
    const parts = [all ? `${count(rows)} shown` : `${count(rows)} of ${count(this.#entries.length)} shown`];
    if (this.#removedCount) parts.push(`${count(this.#removedCount)} older removed; ${MAX_ENTRIES} are kept`);
    if (this.#isPaused) {
      const lost = this.#heldLost ? `, ${count(this.#heldLost)} removed` : "";
      parts.unshift(`Paused: ${count(this.#heldEntries.length)} waiting${lost}`);
    }
    return parts.join(" · ");
  }
}

function isOverLimit(entries, characters) {
  return entries.length > MAX_ENTRIES || (characters > MAX_CHARACTERS && entries.length > 1);
}

/** @param {number} atMs @returns {string} local time of day with milliseconds */
function formatTime(atMs) {
  const date = new Date(atMs);
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0"));
  return `${time.join(":")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

function formatJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
