// The controls that speak the protocol: types, filters, interval, batching. Each shows the message it sends and the
// value that the server answered. Room: pages/console.

import { KeyedList, element, setAttribute, setText } from "../../charts/dom.js";
import { humanize } from "../../client/format.js";
import { answerWords } from "./answers.js";
import { FilterFields } from "./filter_fields.js";
import { filtersMessage, messagesFor, noWishes, readNumber, typeMessages } from "./console_selection.js";

/** A slider that is dragged makes one message, not forty: the server takes ten a second. */
const SETTLE_MS = 350;

/** What a server has in force for a client that asked for nothing. */
const DEFAULTS = {
  metric_types: [],
  filters: {},
  interval_seconds: 1,
  batch_size: 10,
  batch_timeout_seconds: 0.5,
  mode: "all",
  preset: null,
};

const NO_FILTERS = { agent_ids: [], sources: [], fields: [] };

/** Until a welcome says otherwise. */
const BOUNDS = { interval_seconds: [0.1, 60], batch_size: [1, 1000], batch_timeout_seconds: [0, 60] };

const SLIDER_STEPS = 100;

/** Which reply belongs to which control, for servers that do not repeat the ref. */
const CONTROL_OF_REPLY = {
  subscription_confirmed: "types",
  filters_updated: "filters",
  update_interval_set: "interval",
  batching_set: "batching",
};

export class Controls {
  #timers = new Map();
  #refs = 0;
  /** ref → {control, asked}: what waits for its answer. */
  #asked = new Map();
  #askedTypes = null;
  #known = [];

  /**
   * @param {HTMLElement} root
   * @param {object} options
   * @param {{slug: string, label: string, fields: object[]}[]} options.catalogue
   * @param {Seen} options.seen
   * @param {() => boolean} options.isOpen whether messages can be sent
   * @param {(message: object) => boolean} options.send
   * @param {() => void} options.changed called when a wish or what is in force changed
   */
  constructor(root, { catalogue, seen, isOpen, send, changed }) {
    this.root = root;
    this.catalogue = catalogue;
    this.isOpen = isOpen;
    this.send = send;
    this.changed = changed;
    this.wishes = noWishes();
    /** @type {typeof DEFAULTS | null} what the server said is in force; null without a connection */
    this.inForce = null;
    this.limits = null;
    const find = (name) => root.querySelector(`[data-${name}]`);
    this.types = find("types");
    this.slider = find("interval-slider");
    this.interval = find("interval");
    this.size = find("batch-size");
    this.timeout = find("batch-timeout");
    this.mode = find("batch-mode");
    this.intervalHint = find("interval-hint");
    this.batchingHint = find("batching-hint");
    this.exchanges = new Map(
      [...root.querySelectorAll("[data-exchange]")].map((node) => [
        node.dataset.exchange,
        {
          node,
          word: node.querySelector("[data-state-word]"),
          sends: node.querySelector("[data-sends]"),
          answer: node.querySelector("[data-answer]"),
        },
      ]),
    );
    this.filters = new FilterFields(root, {
      catalogue,
      seen,
      typed: () => this.#wishFilters(),
      settled: () => this.#flush("filters"),
    });
    this.typeList = new KeyedList(
      this.types,
      (item) => this.#makeCheck(item),
      (part, item) => this.#showCheck(part, item),
    );
  }

  start() {
    const find = (name) => this.root.querySelector(`[data-${name}]`);
    find("types-all").addEventListener("click", () => this.#wishTypes([...this.knownTypes]));
    find("types-none").addEventListener("click", () => this.#wishTypes([]));
    this.filters.start();
    this.slider.addEventListener("input", () => {
      this.interval.value = String(secondsAt(Number(this.slider.value), this.bounds.interval_seconds));
      this.#wishInterval();
    });
    this.interval.addEventListener("input", () => this.#wishInterval());
    for (const field of [this.size, this.timeout, this.mode]) {
      field.addEventListener("input", () => this.#wishBatching());
    }
    for (const field of [this.interval, this.size, this.timeout]) {
      field.addEventListener("change", () => this.#flush(field === this.interval ? "interval" : "batching"));
      // What the server made of a value is shown once nobody types any more.
      field.addEventListener("blur", () => this.#showValues());
    }
    this.#showAll();
  }

  /** @returns {string[]} the metric types this client may ask for, as far as known */
  get knownTypes() {
    return this.#known.length ? this.#known : this.catalogue.map((type) => type.slug);
  }

  get bounds() {
    return { ...BOUNDS, ...this.limits };
  }

  /** @returns {typeof DEFAULTS} what is in force now, or will be after the connect as far as can be told */
  get effective() {
    const base = this.inForce ?? DEFAULTS;
    return {
      ...base,
      metric_types: this.wishes.metricTypes ?? base.metric_types,
      filters: this.wishes.filters ?? { ...NO_FILTERS, ...base.filters },
      interval_seconds: this.wishes.intervalSeconds ?? base.interval_seconds,
      batch_size: this.wishes.batching?.batch_size ?? base.batch_size,
      batch_timeout_seconds: this.wishes.batching?.batch_timeout_seconds ?? base.batch_timeout_seconds,
      mode: this.wishes.batching?.mode ?? base.mode,
    };
  }

  /** @param {Wishes} wishes from a link, or none at all */
  setWishes(wishes) {
    this.#cancel();
    this.wishes = wishes;
    this.#showAll();
  }

  /** Take the welcome, and send what was wished before. @param {object} welcome */
  takeWelcome(welcome) {
    this.#cancel();
    this.#known = Array.isArray(welcome.metric_types) ? welcome.metric_types.map(String) : [];
    this.inForce = { ...DEFAULTS, ...welcome.subscription };
    this.limits = welcome.limits ?? null;
    // A link may be older than the server's list; one unknown type would have the whole message refused.
    if (this.wishes.metricTypes !== null && this.#known.length) {
      this.wishes.metricTypes = this.wishes.metricTypes.filter((slug) => this.#known.includes(slug));
    }
    this.#showAll();
    const messages = messagesFor(this.wishes, this.inForce.metric_types, this.knownTypes);
    for (const [control, each] of Object.entries(messages)) for (const message of each) this.#send(control, message);
  }

  /** The connection is gone; wishes stay. */
  takeClose() {
    this.#cancel();
    this.inForce = null;
    this.#showAll();
  }

  /** @param {object} message one from the server */
  takeMessage(message) {
    const asked = this.#asked.get(message.ref);
    const control = asked?.control ?? CONTROL_OF_REPLY[message.type];
    if (control === undefined) return;
    this.#asked.delete(message.ref);
    if (control === "types" && !this.#waitsFor("types")) this.#askedTypes = null;
    if (message.type === "error") {
      this.#showAnswer(control, "bad", `${message.code}: ${message.message}`);
      return;
    }
    this.inForce ??= { ...DEFAULTS };
    const { type, ref, ...values } = message;
    Object.assign(this.inForce, values);
    // A person who types on is ahead of the answer; what they have now is sent soon and answered then.
    if (!this.#timers.has(control)) this.#takeEffective(control);
    this.#showAnswer(control, ...answerWords(control, this.inForce, asked?.message, this.#labelOf));
    this.#showAll({ answers: false });
    this.changed();
  }

  /** Once in a while: suggestions from what was seen. */
  tick() {
    this.filters.showSuggestions(this.effective.metric_types);
  }

  #labelOf = (slug) => this.catalogue.find((type) => type.slug === slug)?.label ?? humanize(slug);

  // ---- wishes ----

  #wishTypes(wanted) {
    this.wishes.metricTypes = this.knownTypes.filter((slug) => wanted.includes(slug));
    if (this.isOpen()) {
      // Answers may still be on their way: the difference is to what was asked last, not to what is in force.
      const before = this.#askedTypes ?? this.inForce?.metric_types ?? [];
      const messages = typeMessages(this.wishes.metricTypes, before, this.knownTypes);
      for (const message of messages) this.#send("types", message);
      this.#askedTypes = this.wishes.metricTypes;
    }
    this.#showTypes();
    if (!this.isOpen()) this.#showPlan("types");
    this.tick();
    this.changed();
  }

  #wishFilters() {
    this.wishes.filters = this.filters.read();
    this.#later("filters", () => [filtersMessage(this.wishes.filters)]);
    this.tick();
  }

  #wishInterval() {
    const seconds = readNumber(this.interval.value);
    if (seconds === null) return this.#showAnswer("interval", "warn", "Type a number of seconds.");
    this.wishes.intervalSeconds = seconds;
    this.#showPlace(seconds);
    return this.#later("interval", () => [{ type: "set_update_interval", interval_seconds: seconds }]);
  }

  #wishBatching() {
    const [size, timeout] = [readNumber(this.size.value), readNumber(this.timeout.value)];
    if (size === null || timeout === null) {
      return this.#showAnswer("batching", "warn", "Type a number for size and timeout.");
    }
    this.wishes.batching = { batch_size: size, batch_timeout_seconds: timeout, mode: this.mode.value };
    return this.#later("batching", () => [{ type: "set_batching", ...this.wishes.batching }]);
  }

  #takeEffective(control) {
    const { wishes, inForce } = this;
    if (control === "types" && wishes.metricTypes !== null && !this.#waitsFor("types")) {
      wishes.metricTypes = [...inForce.metric_types];
    }
    if (control === "filters" && wishes.filters !== null) wishes.filters = { ...NO_FILTERS, ...inForce.filters };
    if (control === "interval" && wishes.intervalSeconds !== null) wishes.intervalSeconds = inForce.interval_seconds;
    if (control === "batching" && wishes.batching !== null) {
      const { batch_size, batch_timeout_seconds, mode } = inForce;
      wishes.batching = { batch_size, batch_timeout_seconds, mode };
    }
  }

  #waitsFor(control) {
    return [...this.#asked.values()].some((asked) => asked.control === control);
  }

  // ---- sending ----

  #later(control, makeMessages) {
    clearTimeout(this.#timers.get(control)?.timer);
    const run = () => {
      this.#timers.delete(control);
      for (const message of makeMessages()) this.#send(control, message);
    };
    this.#timers.set(control, { timer: setTimeout(run, SETTLE_MS), run });
    this.#showPlan(control, makeMessages());
    this.changed();
  }

  #flush(control) {
    const waiting = this.#timers.get(control);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    waiting.run();
  }

  #cancel() {
    for (const { timer } of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#asked.clear();
    this.#askedTypes = null;
  }

  #send(control, message) {
    this.#refs += 1;
    const withRef = { ...message, ref: `${control}-${this.#refs}` };
    if (!this.send(withRef)) {
      this.#showPlan(control, [message]);
      return;
    }
    // Servers that repeat no ref never take anything off this list.
    if (this.#asked.size > 100) this.#asked.clear();
    this.#asked.set(withRef.ref, { control, message });
    const exchange = this.exchanges.get(control);
    setText(exchange.word, "Sent");
    setText(exchange.sends, JSON.stringify(withRef));
    setAttribute(exchange.sends, "data-empty", false);
    this.#showAnswer(control, null, "Waiting for the answer…");
  }

  // ---- showing ----

  #showAll({ answers = true } = {}) {
    this.#showTypes();
    this.#showValues();
    this.tick();
    const { interval_seconds: interval, batch_size: size, batch_timeout_seconds: timeout } = this.bounds;
    setText(this.intervalHint, `The least time between two data frames: ${interval.join(" to ")} s.`);
    setText(
      this.batchingHint,
      `A frame leaves when it holds this many (${size.join(" to ")}), ` +
        `or when the timeout (${timeout.join(" to ")} s) has passed.`,
    );
    if (answers) for (const control of this.exchanges.keys()) this.#showPlan(control);
  }

  #showTypes() {
    const { metric_types: chosen } = this.effective;
    this.typeList.show(
      this.knownTypes.map((slug) => ({ key: slug, slug, label: this.#labelOf(slug), checked: chosen.includes(slug) })),
    );
  }

  #makeCheck({ slug }) {
    const box = element("input", { type: "checkbox", name: slug });
    const label = element("span");
    const code = element("code", { class: "check__slug" }, slug);
    box.addEventListener("change", () => {
      const chosen = new Set(this.effective.metric_types);
      if (box.checked) chosen.add(slug);
      else chosen.delete(slug);
      this.#wishTypes([...chosen]);
    });
    return { node: element("label", { class: "check" }, box, label, code), box, label, code };
  }

  #showCheck({ box, label, code }, item) {
    setText(label, item.label);
    setAttribute(code, "hidden", item.label.toLowerCase() === item.slug);
    box.checked = item.checked;
  }

  #showValues() {
    const { effective } = this;
    show(this.interval, String(effective.interval_seconds));
    this.#showPlace(effective.interval_seconds);
    show(this.size, String(effective.batch_size));
    show(this.timeout, String(effective.batch_timeout_seconds));
    show(this.mode, effective.mode);
    this.filters.show(effective.filters);
  }

  #showPlace(seconds) {
    setAttribute(this.slider, "aria-valuetext", `${seconds} seconds`);
    show(this.slider, String(placeOf(seconds, this.bounds.interval_seconds)));
  }

  /** Show what a control would send, and what is in force. */
  #showPlan(control, messages = null) {
    const exchange = this.exchanges.get(control);
    const planned = messages ?? messagesFor(this.wishes, [], this.knownTypes)[control];
    const connected = this.inForce !== null;
    setText(exchange.word, "Sends");
    const texts = planned.map((message) => JSON.stringify(message));
    setText(exchange.sends, texts.join("\n") || "nothing until you change it");
    setAttribute(exchange.sends, "data-empty", texts.length === 0);
    if (connected) this.#showAnswer(control, ...answerWords(control, this.inForce, null, this.#labelOf));
    else if (planned.length) this.#showAnswer(control, null, "Goes out with the next connect.");
    else this.#showAnswer(control, null, "The preset, or the server’s default, decides.");
  }

  #showAnswer(control, level, words) {
    const exchange = this.exchanges.get(control);
    setText(exchange.answer, words);
    setAttribute(exchange.answer, "data-level", level);
  }

}

/** Write a value into a field unless somebody types there. */
function show(field, value) {
  if (document.activeElement !== field && field.value !== value) field.value = value;
}

/** @returns {number} seconds with two significant digits, on a scale where each step is the same factor */
function secondsAt(place, [low, high]) {
  return Number((low * (high / low) ** (place / SLIDER_STEPS)).toPrecision(2));
}

function placeOf(seconds, [low, high]) {
  const inside = Math.min(high, Math.max(low, seconds));
  return Math.round((Math.log(inside / low) / Math.log(high / low)) * SLIDER_STEPS);
}
