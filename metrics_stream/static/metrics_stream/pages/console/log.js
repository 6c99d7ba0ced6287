// The log: every frame in and out, bounded, with pause, search and copy. Room: pages/console.
//
// Frames are taken in at any rate; rows are made once per animation frame, and only for what is still kept by then.

import { element, setAttribute, setText } from "../../charts/dom.js";
import { formatBytes } from "../../client/format.js";
import { copyFrom } from "./clipboard.js";

/** Rows kept. At 100 frames a second these are five seconds, enough to look back after pressing Pause. */
const MOST_ENTRIES = 500;

/** Characters kept; frames can be a megabyte each. */
const MOST_CHARACTERS = 8_000_000;

/** Characters of one frame that are shown; more would make the page stutter, and copying gives all. */
const MOST_SHOWN = 60_000;

/** Within this distance of the end, in pixels, the log follows. */
const NEAR_END = 24;

const FILTERED_WORDS = "Nothing of what is kept fits the search and the kinds chosen above.";

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
 * @property {string} text as it went over the wire, or what the event means
 * @property {number | null} bytes
 * @property {number} atMs
 * @property {"bad" | "warn" | "good" | null} [level]
 */

export class Log {
  #entries = [];
  #characters = 0;
  /** Entries that came while paused. */
  #held = [];
  #heldCharacters = 0;
  #heldLost = 0;
  #unshown = [];
  #frame = null;
  #hiddenKinds = new Set();
  #search = "";
  #following = true;
  #unseen = 0;
  #removed = 0;
  #active = null;
  #paused = false;
  #searchTimer = null;

  /**
   * @param {HTMLElement} root
   * @param {HTMLElement} announcer
   * @param {(text: string) => void} reuse puts a text into the composer
   */
  constructor(root, announcer, reuse) {
    this.root = root;
    this.announcer = announcer;
    this.reuse = reuse;
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
    this.pauseButton.addEventListener("click", () => this.#setPaused(!this.#paused));
    this.clearButton.addEventListener("click", () => this.clear());
    this.copyButton.addEventListener("click", () => copyFrom(this.copyButton, this.#visibleText(), this.announcer));
    this.newest.addEventListener("click", () => this.#follow());
    this.list.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.list.addEventListener("click", (event) => this.#clicked(event));
    this.list.addEventListener("keydown", (event) => this.#pressed(event));
    this.searchField.addEventListener("input", () => {
      clearTimeout(this.#searchTimer);
      this.#searchTimer = setTimeout(() => this.#setSearch(this.searchField.value), 150);
    });
    for (const button of this.root.querySelectorAll(".toggle[data-kind]")) {
      button.addEventListener("click", () => this.#toggleKind(button));
    }
    this.#showWords();
  }

  /** @param {Entry} entry */
  add(entry) {
    if (!this.#paused) {
      this.#keep(entry);
      return;
    }
    this.#held.push(entry);
    this.#heldCharacters += entry.text.length;
    while (isTooMuch(this.#held, this.#heldCharacters)) {
      this.#heldCharacters -= this.#held.shift().text.length;
      this.#heldLost += 1;
    }
    this.#schedule();
  }

  /** Forget everything that is shown or waits. */
  clear() {
    this.#entries = [];
    this.#held = [];
    this.#heldCharacters = this.#heldLost = 0;
    this.#unshown = [];
    this.#characters = 0;
    this.#removed = 0;
    this.#unseen = 0;
    this.#setActive(null);
    this.#following = true;
    this.list.replaceChildren();
    this.#showWords();
  }

  /** @param {string} words what an empty log says */
  setIdleWords(words) {
    this.idleWords = words;
    this.#showWords();
  }

  #keep(entry) {
    this.#entries.push(entry);
    this.#unshown.push(entry);
    this.#characters += entry.text.length;
    while (isTooMuch(this.#entries, this.#characters)) {
      const gone = this.#entries.shift();
      gone.isGone = true;
      this.#characters -= gone.text.length;
      this.#removed += 1;
    }
    // A hidden page gets no animation frames; what waits for one must not grow.
    if (this.#unshown.length > 2 * MOST_ENTRIES) this.#unshown = this.#unshown.filter((each) => !each.isGone);
    this.#schedule();
  }

  #schedule() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#paint();
    });
  }

  #paint() {
    const added = document.createDocumentFragment();
    for (const entry of this.#unshown) {
      if (!entry.isGone && this.#matches(entry)) added.append(this.#makeRow(entry));
    }
    this.#unseen += this.#following ? 0 : added.childElementCount;
    this.#unshown = [];
    this.#removeGone();
    this.list.append(added);
    if (this.#following) this.list.scrollTop = this.list.scrollHeight;
    this.#showWords();
  }

  #removeGone() {
    let row = this.list.firstElementChild;
    if (row === null || !row.entry.isGone) return;
    // Reading sizes costs a layout; it is needed only to keep still what somebody reads.
    const height = this.#following ? 0 : this.list.scrollHeight;
    while (row !== null && row.entry.isGone) {
      const next = row.nextElementSibling;
      if (row === this.#active) this.#setActive(null);
      // A focused row that goes must not throw the keyboard back to the top of the page.
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
      element("span", { class: "entry__time" }, timeText(entry.atMs)),
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

  #clicked(event) {
    const row = event.target.closest(".entry");
    if (row === null) return;
    if (event.target.closest(".entry__head")) {
      this.#setActive(row);
      this.#toggle(row);
    }
    const copy = event.target.closest("[data-copy-entry]");
    if (copy) copyFrom(copy, row.entry.text, this.announcer);
    if (event.target.closest("[data-reuse-entry]")) this.reuse(row.entry.text);
  }

  #toggle(row) {
    const head = row.querySelector(".entry__head");
    const open = head.getAttribute("aria-expanded") !== "true";
    setAttribute(head, "aria-expanded", String(open));
    row.querySelector(".entry__body")?.remove();
    if (!open) return;
    // Somebody reads: the log must not run away under their eyes.
    this.#setFollowing(false);
    row.append(this.#makeBody(row.entry));
    row.scrollIntoView({ block: "nearest" });
  }

  #makeBody(entry) {
    const text = prettyText(entry.text);
    const more = text.length - MOST_SHOWN;
    const end = more > 0 ? `\n… ${more.toLocaleString("en")} more characters; Copy gives all.` : "";
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
    body.append(element("pre", { class: "entry__text", tabindex: "0" }, text.slice(0, MOST_SHOWN) + end));
    return body;
  }

  #setActive(row) {
    if (this.#active !== null) setAttribute(this.#active.querySelector(".entry__head"), "tabindex", "-1");
    this.#active = row;
    if (row !== null) setAttribute(row.querySelector(".entry__head"), "tabindex", "0");
    // While a row can be reached by Tab, the list itself need not be.
    setAttribute(this.list, "tabindex", row === null ? "0" : "-1");
  }

  #pressed(event) {
    if (event.target.closest(".entry__body") || event.ctrlKey || event.metaKey || event.altKey) return;
    const current = this.#active?.isConnected ? this.#active : null;
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
    return this.#search === "" || `${entry.type}\n${entry.summary}\n${entry.text}`.toLowerCase().includes(this.#search);
  }

  #toggleKind(button) {
    const shown = button.getAttribute("aria-pressed") !== "true";
    setAttribute(button, "aria-pressed", String(shown));
    if (shown) this.#hiddenKinds.delete(button.dataset.kind);
    else this.#hiddenKinds.add(button.dataset.kind);
    this.#showAgain();
  }

  #setSearch(text) {
    this.#search = text.trim().toLowerCase();
    this.#showAgain();
  }

  #showAgain() {
    this.#setActive(null);
    this.list.replaceChildren();
    this.#unshown = [...this.#entries];
    this.#follow();
    this.#paint();
  }

  #visibleText() {
    return [...this.list.children]
      .map(({ entry }) => `${new Date(entry.atMs).toISOString()} ${DIRECTIONS[entry.direction][1]} ${entry.text}`)
      .join("\n");
  }

  // ---- pause and follow ----

  #setPaused(paused) {
    this.#paused = paused;
    setAttribute(this.pauseButton, "aria-pressed", String(paused));
    setText(this.pauseButton, paused ? "Resume" : "Pause");
    if (!paused) {
      for (const entry of this.#held.splice(0)) this.#keep(entry);
      this.#heldCharacters = this.#heldLost = 0;
    }
    this.#showWords();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.list;
    this.#setFollowing(scrollHeight - scrollTop - clientHeight < NEAR_END);
  }

  #setFollowing(following) {
    if (following === this.#following) return;
    this.#following = following;
    if (following) this.#unseen = 0;
    this.#showWords();
  }

  #follow() {
    this.list.scrollTop = this.list.scrollHeight;
    this.#unseen = 0;
    this.#following = true;
    this.#showWords();
  }

  #showWords() {
    const rows = this.list.childElementCount;
    setAttribute(this.root, "data-paused", this.#paused);
    setAttribute(this.newest, "hidden", this.#following || rows === 0);
    setText(this.newest, this.#unseen ? `↓ ${this.#unseen.toLocaleString("en")} newer` : "↓ Newest");
    setAttribute(this.empty, "hidden", rows > 0);
    const filtered = this.#entries.length > 0 && rows === 0;
    setText(this.emptyWords, filtered ? FILTERED_WORDS : this.idleWords);
    setAttribute(this.copyButton, "disabled", rows === 0);
    setText(this.foot, this.#footText(rows));
  }

  #footText(rows) {
    const count = (number) => number.toLocaleString("en");
    const all = rows === this.#entries.length;
    const parts = [all ? `${count(rows)} shown` : `${count(rows)} of ${count(this.#entries.length)} shown`];
    if (this.#removed) parts.push(`${count(this.#removed)} older let go; ${MOST_ENTRIES} are kept`);
    if (this.#paused) {
      const lost = this.#heldLost ? `, ${count(this.#heldLost)} let go` : "";
      parts.unshift(`Paused: ${count(this.#held.length)} waiting${lost}`);
    }
    return parts.join(" · ");
  }
}

function isTooMuch(entries, characters) {
  return entries.length > MOST_ENTRIES || (characters > MOST_CHARACTERS && entries.length > 1);
}

/** @param {number} atMs @returns {string} local time of day with milliseconds */
function timeText(atMs) {
  const date = new Date(atMs);
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0"));
  return `${time.join(":")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

function prettyText(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
