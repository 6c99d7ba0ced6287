// The controls for types, filters, interval and batching. Each shows the message that it sends and the server's answer.

import { KeyedList, element, setAttribute, setText } from "../../charts/dom.js";
import { replaceTypes } from "../../client/catalogue.js";
import { humanize } from "../../client/format.js";
import { describeAnswer } from "./answers.js";
import { FilterFields } from "./filter_fields.js";
import { placeOf, secondsAt } from "./seconds_slider.js";
import { emptySelection, filtersMessage, messagesFor, noFilters, readNumber, typeMessages } from "./console_selection.js";

/** A dragged slider sends one message, not forty: the server accepts ten a second. */
const SEND_DELAY_MS = 350;

/** The values in force for a client that has requested nothing. */
const DEFAULTS = {
  metric_types: [],
  filters: {},
  interval_seconds: 1,
  batch_size: 10,
  batch_timeout_seconds: 0.5,
  mode: "all",
  preset: null,
};

/** The limits until a welcome names them. */
const BOUNDS = { interval_seconds: [0.1, 60], batch_size: [1, 1000], batch_timeout_seconds: [0, 60] };

/** The control of each reply, for servers that do not repeat the ref. */
const CONTROL_OF_REPLY = {
  subscription_confirmed: "types",
  filters_updated: "filters",
  update_interval_set: "interval",
  batching_set: "batching",
};

export class Controls {
  #timers = new Map();
  #refCount = 0;
  /** ref → {control, message}: the requests that wait for their answer. */
  #pending = new Map();
  #requestedTypes = null;
  #serverTypes = [];

  /**
   * @param {HTMLElement} root
   * @param {object} options
   * @param {{slug: string, label: string, fields: object[]}[]} options.catalogue
   * @param {KnownNames} options.knownNames
   * @param {() => boolean} options.isOpen whether messages can be sent
   * @param {(message: object) => boolean} options.send
   * @param {() => void} options.onChange called when the selection or what is in force changed
   */
  constructor(root, { catalogue, knownNames, isOpen, send, onChange }) {
    this.root = root;
    this.catalogue = catalogue;
    this.isOpen = isOpen;
    this.send = send;
    this.onChange = onChange;
    this.selection = emptySelection();
    /** @type {typeof DEFAULTS | null} the values in force as the server reported them; null without a connection */
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
      knownNames,
      onInput: () => this.#selectFilters(),
      onChange: () => this.#sendScheduled("filters"),
    });
    this.typeList = new KeyedList(
      this.types,
      (item) => this.#createCheck(item),
      (part, item) => this.#showCheck(part, item),
    );
  }

  start() {
    const find = (name) => this.root.querySelector(`[data-${name}]`);
    find("types-all").addEventListener("click", () => this.#selectTypes([...this.knownTypes]));
    find("types-none").addEventListener("click", () => this.#selectTypes([]));
    this.filters.start();
    this.slider.addEventListener("input", () => {
      this.interval.value = String(secondsAt(Number(this.slider.value), this.bounds.interval_seconds));
      this.#selectInterval();
    });
    this.interval.addEventListener("input", () => this.#selectInterval());
    for (const field of [this.size, this.timeout, this.mode]) {
      field.addEventListener("input", () => this.#selectBatching());
    }
    for (const field of [this.interval, this.size, this.timeout]) {
      field.addEventListener("change", () => this.#sendScheduled(field === this.interval ? "interval" : "batching"));
      // The value in force is shown once the person has left the field.
      field.addEventListener("blur", () => this.#showValues());
    }
    this.#showAll();
  }

  /** @returns {string[]} the metric types that this client may request, as far as known */
  get knownTypes() {
    return this.#serverTypes.length ? this.#serverTypes : this.catalogue.map((type) => type.slug);
  }

  get bounds() {
    return { ...BOUNDS, ...this.limits };
  }

  /** @returns {typeof DEFAULTS} the values in force now, or expected after connecting */
  get effective() {
    const base = this.inForce ?? DEFAULTS;
    return {
      ...base,
      metric_types: this.selection.metricTypes ?? base.metric_types,
      filters: this.selection.filters ?? { ...noFilters(), ...base.filters },
      interval_seconds: this.selection.intervalSeconds ?? base.interval_seconds,
      batch_size: this.selection.batching?.batch_size ?? base.batch_size,
      batch_timeout_seconds: this.selection.batching?.batch_timeout_seconds ?? base.batch_timeout_seconds,
      mode: this.selection.batching?.mode ?? base.mode,
    };
  }

  /** @param {ConsoleSelection} selection from a link, or none at all */
  setSelection(selection) {
    this.#cancelPending();
    this.selection = selection;
    this.#showAll();
  }

  /** Take the welcome, and send the selection made before it. @param {object} welcome */
  handleWelcome(welcome) {
    this.#cancelPending();
    this.#serverTypes = Array.isArray(welcome.metric_types) ? welcome.metric_types.map(String) : [];
    this.inForce = { ...DEFAULTS, ...welcome.subscription };
    this.limits = welcome.limits ?? null;
    // A link may be older than the server's list, and one unknown type makes the server refuse the whole message.
    if (this.selection.metricTypes !== null && this.#serverTypes.length) {
      this.selection.metricTypes = this.selection.metricTypes.filter((slug) => this.#serverTypes.includes(slug));
    }
    this.#showAll();
    const messages = messagesFor(this.selection, this.inForce.metric_types, this.knownTypes);
    for (const [control, each] of Object.entries(messages)) for (const message of each) this.#send(control, message);
  }

  /** The connection has ended; the selection stays. */
  handleClose() {
    this.#cancelPending();
    this.inForce = null;
    this.#showAll();
  }

  /** @param {object} message from the server */
  handleMessage(message) {
    if (message.type === "catalogue_changed") this.#handleCatalogue(message);
    if (message.type === "subscription_changed") this.inForce = { ...DEFAULTS, ...message.subscription };
    const asked = this.#pending.get(message.ref);
    const control = asked?.control ?? CONTROL_OF_REPLY[message.type];
    if (control === undefined) return;
    this.#pending.delete(message.ref);
    if (control === "types" && !this.#isWaitingFor("types")) this.#requestedTypes = null;
    if (message.type === "error") {
      this.#showAnswer(control, "bad", `${message.code}: ${message.message}`);
      return;
    }
    this.inForce ??= { ...DEFAULTS };
    const { type, ref, ...values } = message;
    Object.assign(this.inForce, values);
    // Where a person still types, the answer is out of date: the newer value is sent soon.
    if (!this.#timers.has(control)) this.#adoptEffective(control);
    this.#showAnswer(control, ...describeAnswer(control, this.inForce, asked?.message, this.#labelOf));
    this.#showAll({ answers: false });
    this.onChange();
  }

  #handleCatalogue({ changed, metric_types: metricTypes }) {
    replaceTypes(this.catalogue, changed);
    this.#serverTypes = metricTypes.map(String);
    this.#showAll({ answers: false });
  }

  /** Call at intervals: updates the suggestions. */
  tick() {
    this.filters.showSuggestions(this.effective.metric_types);
  }

  #labelOf = (slug) => this.catalogue.find((type) => type.slug === slug)?.label ?? humanize(slug);

  // ---- selecting ----

  #selectTypes(wanted) {
    this.selection.metricTypes = this.knownTypes.filter((slug) => wanted.includes(slug));
    if (this.isOpen()) {
      // Answers may be on their way: take the difference to the last request, not to the values in force.
      const before = this.#requestedTypes ?? this.inForce?.metric_types ?? [];
      const messages = typeMessages(this.selection.metricTypes, before, this.knownTypes);
      for (const message of messages) this.#send("types", message);
      this.#requestedTypes = this.selection.metricTypes;
    }
    this.#showTypes();
    if (!this.isOpen()) this.#showPlanned("types");
    this.tick();
    this.onChange();
  }

  #selectFilters() {
    const problem = this.filters.problem();
    if (problem) {
      this.#showAnswer("filters", "warn", problem);
      return;
    }
    this.selection.filters = this.filters.read();
    this.#scheduleSend("filters", () => [filtersMessage(this.selection.filters)]);
    this.tick();
  }

  #selectInterval() {
    const seconds = readNumber(this.interval.value);
    if (seconds === null) return this.#showAnswer("interval", "warn", "Type a number of seconds.");
    this.selection.intervalSeconds = seconds;
    this.#showSliderPlace(seconds);
    return this.#scheduleSend("interval", () => [{ type: "set_update_interval", interval_seconds: seconds }]);
  }

  #selectBatching() {
    const [size, timeout] = [readNumber(this.size.value), readNumber(this.timeout.value)];
    if (size === null || timeout === null) {
      return this.#showAnswer("batching", "warn", "Type a number for size and timeout.");
    }
    this.selection.batching = { batch_size: size, batch_timeout_seconds: timeout, mode: this.mode.value };
    return this.#scheduleSend("batching", () => [{ type: "set_batching", ...this.selection.batching }]);
  }

  #adoptEffective(control) {
    const { selection, inForce } = this;
    if (control === "types" && selection.metricTypes !== null && !this.#isWaitingFor("types")) {
      selection.metricTypes = [...inForce.metric_types];
    }
    if (control === "filters" && selection.filters !== null) selection.filters = { ...noFilters(), ...inForce.filters };
    if (control === "interval" && selection.intervalSeconds !== null)
      selection.intervalSeconds = inForce.interval_seconds;
    if (control === "batching" && selection.batching !== null) {
      const { batch_size, batch_timeout_seconds, mode } = inForce;
      selection.batching = { batch_size, batch_timeout_seconds, mode };
    }
  }

  #isWaitingFor(control) {
    return [...this.#pending.values()].some((asked) => asked.control === control);
  }

  // ---- sending ----

  #scheduleSend(control, makeMessages) {
    clearTimeout(this.#timers.get(control)?.timer);
    const run = () => {
      this.#timers.delete(control);
      for (const message of makeMessages()) this.#send(control, message);
    };
    this.#timers.set(control, { timer: setTimeout(run, SEND_DELAY_MS), run });
    this.#showPlanned(control, makeMessages());
    this.onChange();
  }

  #sendScheduled(control) {
    const waiting = this.#timers.get(control);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    waiting.run();
  }

  #cancelPending() {
    for (const { timer } of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#pending.clear();
    this.#requestedTypes = null;
  }

  #send(control, message) {
    this.#refCount += 1;
    const withRef = { ...message, ref: `${control}-${this.#refCount}` };
    if (!this.send(withRef)) {
      this.#showPlanned(control, [message]);
      return;
    }
    // With servers that repeat no ref, requests are never removed from this list.
    if (this.#pending.size > 100) this.#pending.clear();
    this.#pending.set(withRef.ref, { control, message });
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
    setText(this.intervalHint, `The shortest time between two data frames: ${interval.join(" to ")} s.`);
    setText(
      this.batchingHint,
      `A frame is sent when it holds this many metrics (${size.join(" to ")}), ` +
        `or when the timeout (${timeout.join(" to ")} s) has passed.`,
    );
    if (answers) for (const control of this.exchanges.keys()) this.#showPlanned(control);
  }

  #showTypes() {
    const { metric_types: chosen } = this.effective;
    this.typeList.show(
      this.knownTypes.map((slug) => ({ key: slug, slug, label: this.#labelOf(slug), checked: chosen.includes(slug) })),
    );
  }

  #createCheck({ slug }) {
    const box = element("input", { type: "checkbox", name: slug });
    const label = element("span");
    const code = element("code", { class: "check__slug" }, slug);
    box.addEventListener("change", () => {
      const chosen = new Set(this.effective.metric_types);
      if (box.checked) chosen.add(slug);
      else chosen.delete(slug);
      this.#selectTypes([...chosen]);
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
    showValue(this.interval, String(effective.interval_seconds));
    this.#showSliderPlace(effective.interval_seconds);
    showValue(this.size, String(effective.batch_size));
    showValue(this.timeout, String(effective.batch_timeout_seconds));
    showValue(this.mode, effective.mode);
    this.filters.show(effective.filters);
  }

  #showSliderPlace(seconds) {
    setAttribute(this.slider, "aria-valuetext", `${seconds} seconds`);
    showValue(this.slider, String(placeOf(seconds, this.bounds.interval_seconds)));
  }

  /** Show what a control would send, and the values in force. */
  #showPlanned(control, messages = null) {
    const exchange = this.exchanges.get(control);
    const planned = messages ?? messagesFor(this.selection, [], this.knownTypes)[control];
    const connected = this.inForce !== null;
    setText(exchange.word, "Sends");
    const texts = planned.map((message) => JSON.stringify(message));
    setText(exchange.sends, texts.join("\n") || "nothing until you change it");
    setAttribute(exchange.sends, "data-empty", texts.length === 0);
    if (connected) this.#showAnswer(control, ...describeAnswer(control, this.inForce, null, this.#labelOf));
    else if (planned.length) this.#showAnswer(control, null, "Sent after the next connect.");
    else this.#showAnswer(control, null, "The preset or the server’s default applies.");
  }

  #showAnswer(control, level, words) {
    const exchange = this.exchanges.get(control);
    setText(exchange.answer, words);
    setAttribute(exchange.answer, "data-level", level);
  }
}

/** Write a value into a field, unless a person types there. */
function showValue(field, value) {
  if (document.activeElement !== field && field.value !== value) field.value = value;
}
