// The console: a client for developers and admins that shows everything it sends and receives. Joins the session, the
// controls, the log and the statistics.

import { setAttribute, setText } from "../charts/dom.js";
import { FORBIDDEN, isRefusal } from "../client/close_codes.js";
import { socketUrl } from "../client/socket_url.js";
import { copyFrom } from "./console/clipboard.js";
import { explainClosing } from "./console/close_explanation.js";
import { Composer } from "./console/composer.js";
import { emptySelection, messagesFor, readLink, writeLink } from "./console/console_selection.js";
import { Controls } from "./console/controls.js";
import { Facts } from "./console/facts.js";
import { KnownNames } from "./console/known_names.js";
import { LimitUsage } from "./console/limit_usage.js";
import { Log } from "./console/log.js";
import { kindOf, summarize, typeOf } from "./console/messages.js";
import { Meters } from "./console/meters.js";
import { presetOf, withPreset } from "./console/preset_url.js";
import { Session } from "./console/session.js";
import { javaScriptFor, pythonFor } from "./console/snippets.js";
import { metricsOf, Statistics } from "./console/statistics.js";
import { Tabs } from "./console/tabs.js";
import { Tiles } from "./console/tiles.js";
import { signInAddress } from "./sign_in.js";

/** How often numbers are updated; faster changes cannot be read. */
const NUMBERS_INTERVAL_MS = 500;

const IDLE_WORDS = "Press Connect. Every message in both directions appears here.";
const QUIET_WORDS = "No messages yet. New ones appear as they come.";

/** The look and the text of the badge, by state. */
const BADGES = {
  idle: ["idle", "Not connected"],
  connecting: ["connecting", "Connecting…"],
  open: ["connecting", "Open, no welcome yet"],
  live: ["live", "Connected"],
  waiting: ["waiting", "Reconnecting"],
  closed: ["stopped", "Closed"],
};

class ConsolePage {
  // Whether the server waits for a token or a sign-in.
  #isAuthenticationRequired = false;

  /** @param {object} config the page configuration @param {Document} page */
  constructor(config, page) {
    this.config = config;
    this.page = page;
    const root = page.querySelector("[data-console]");
    this.find = (name) => root.querySelector(`[data-${name}]`);
    this.announcer = page.querySelector("[data-announcer]");
    this.ownUrl = socketUrl(config.socket_path, location);
    this.session = new Session();
    this.statistics = new Statistics();
    this.limitUsage = new LimitUsage();
    this.knownNames = new KnownNames();
    this.tabs = new Tabs(root.querySelector('[role="tablist"]'));
    this.tiles = new Tiles(root, this.statistics);
    this.meters = new Meters(root, this.limitUsage);
    this.log = new Log(this.find("log"), this.announcer, (text) => this.#editMessage(text));
    this.controls = new Controls(page.getElementById("pane-subscription"), {
      catalogue: config.catalogue,
      knownNames: this.knownNames,
      isOpen: () => this.session.isOpen,
      send: (message) => this.session.sendText(JSON.stringify(message)),
      onChange: () => {
        this.#handleChange();
        if (this.session.state.name === "live") this.#showState(null, "");
      },
    });
    this.composer = new Composer(page.getElementById("pane-send"), {
      send: (text) => this.session.sendText(text),
      metricTypes: () => this.controls.knownTypes,
      clientMessages: config.client_messages,
    });
    this.url = this.find("url");
    this.preset = this.find("preset");
    this.facts = new Facts(root, this.session);
  }

  start() {
    this.tabs.start();
    this.log.start();
    this.controls.start();
    this.composer.start();
    for (const { slug, name } of this.config.presets) this.preset.append(new Option(name, slug));
    this.session.on("state", (state) => this.#handleState(state));
    this.session.on("frame", (frame) => this.#handleFrame(frame));
    this.#listen();
    this.#readLink();
    this.limitUsage.reset(null, Date.now());
    this.#handleState(this.session.state);
    setInterval(() => this.page.hidden || this.#showNumbers(), NUMBERS_INTERVAL_MS);
    this.page.addEventListener("visibilitychange", () => this.page.hidden || this.#showNumbers());
    this.#showNumbers();
  }

  #listen() {
    this.find("connect-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.session.isActive) this.session.disconnect();
      else this.#connect();
    });
    this.url.addEventListener("input", () => this.#handleUrlInput());
    this.preset.addEventListener("change", () => this.#handlePreset());
    const reconnect = this.find("auto-reconnect");
    reconnect.addEventListener("change", () => {
      this.session.autoReconnect = reconnect.checked;
      if (!reconnect.checked && this.session.state.name === "waiting") this.session.disconnect();
      this.#writeLink();
    });
    const ping = this.find("auto-ping");
    ping.addEventListener("change", () => this.session.setAutoPing(ping.checked));
    const copyLink = this.find("copy-link");
    copyLink.addEventListener("click", () => copyFrom(copyLink, location.href, this.announcer));
    this.find("reset").addEventListener("click", () => this.#reset());
    this.find("jump-log").addEventListener("click", () => {
      const title = this.page.getElementById("log-title");
      title.focus({ preventScroll: true });
      this.find("log").scrollIntoView();
    });
    addEventListener("hashchange", () => this.#readLink());
    // A page in the back-forward cache must not hold a socket.
    addEventListener("pagehide", () => this.session.disconnect());
    for (const snippet of this.page.querySelectorAll("[data-snippet]")) {
      const button = snippet.querySelector("[data-copy]");
      const code = snippet.querySelector("[data-code]");
      button.addEventListener("click", () => copyFrom(button, code.textContent, this.announcer));
    }
  }

  // ---- connection ----

  #connect() {
    this.statistics.reset();
    const url = this.url.value.trim();
    // A browser would resolve an empty address to that of this page.
    if (url === "") this.url.focus();
    else this.session.connect(url);
  }

  #handleState(state) {
    const { name, closing, problem } = state;
    if (name !== "open") this.#isAuthenticationRequired = false;
    const explained = closing === null ? null : explainClosing(closing);
    const [look, words] = BADGES[name];
    const quiet = name === "closed" && closing?.byUs;
    setAttribute(this.find("badge"), "data-state", quiet ? "idle" : look);
    setText(this.find("badge-words"), quiet ? "Not connected" : words);
    setText(this.find("connect"), name === "waiting" ? "Stop" : this.session.isActive ? "Disconnect" : "Connect");
    this.find("connect").classList.toggle("button--primary", !this.session.isActive);
    this.url.readOnly = this.session.isActive;
    this.composer.setOpen(this.session.isOpen);
    this.log.setIdleWords(this.session.isActive ? QUIET_WORDS : IDLE_WORDS);
    if (name !== "live") this.#forgetServer();
    if (name === "live") this.#handleWelcome();
    this.#logState(state, explained);
    this.#showState(explained, problem);
    setText(this.announcer, explained && !quiet ? joinSentences(explained) : this.find("badge-words").textContent);
    this.#showNumbers();
  }

  #forgetServer() {
    this.controls.handleClose();
    this.composer.setLimits(null);
    this.limitUsage.reset(null, Date.now());
  }

  #handleWelcome() {
    const { welcome } = this.session;
    this.limitUsage.reset(welcome.limits ?? null, Date.now());
    this.composer.setLimits(welcome.limits ?? null);
    this.controls.handleWelcome(welcome);
    this.#showSnippets();
  }

  #showState(explained, problem) {
    const { state, welcome } = this.session;
    const words = {
      idle: "Nothing is sent until you press Connect.",
      connecting: `Opening ${this.session.url}`,
      open: "The socket is open. Without a welcome, the server may speak another protocol; raw messages can be sent.",
      live: welcome === null ? "" : this.#describeLive(welcome),
    };
    let text = words[state.name] ?? "";
    if (this.#isAuthenticationRequired)
      text = "The server requires authentication: send authenticate with a token, or sign in on this page.";
    if (problem) text = `The browser refuses this address: ${problem}`;
    if (explained !== null) text = joinSentences(explained);
    setText(this.find("words"), text);
    setAttribute(this.find("words"), "data-level", problem ? "bad" : (explained?.level ?? null));
    const isOurs = this.session.url.startsWith(this.ownUrl);
    const code = state.closing?.code;
    this.#showSignIn(isOurs && (this.#isAuthenticationRequired || isRefusal(code) || code === FORBIDDEN));
  }

  #showSignIn(isOffered) {
    const link = this.find("sign-in");
    setAttribute(link, "hidden", !isOffered);
    if (isOffered) setAttribute(link, "href", signInAddress(this.config.sign_in_path, location));
  }

  #describeLive(welcome) {
    const { metric_types: types, interval_seconds: seconds } = this.controls.inForce ?? {};
    const preset = welcome.subscription?.preset ? ` Preset: ${this.#presetName(welcome.subscription.preset)}.` : "";
    if (!types?.length) return `Subscribed to nothing yet: choose metric types to receive metrics.${preset}`;
    return `Receiving ${types.join(", ")}, at most every ${seconds} s.${preset}`;
  }

  #logState({ name, closing, problem }, explained) {
    const event = (type, text, level = null) => {
      const what = { direction: "event", kind: "event", type, summary: text, text };
      this.log.add({ ...what, bytes: null, atMs: Date.now(), level });
    };
    if (name === "connecting") event("connecting", this.session.url);
    if (name === "open") event("open", "The connection is open.");
    if (problem) event("refused", problem, "bad");
    if (closing === null) return;
    if (closing.byUs) event("disconnected", explained.meaning);
    else event(`closed ${closing.code}`, joinSentences(explained), explained.level);
  }

  #handleFrame(frame) {
    const { clock } = this.session;
    const nowMs = Date.now();
    if (frame.direction === "out") {
      this.statistics.addSent(frame.bytes);
      this.limitUsage.takeMessage(nowMs);
    } else {
      this.statistics.addReceived(frame, clock.offsetMs);
      for (const metric of metricsOf(frame.message)) this.knownNames.add(metric);
      if (frame.message?.type === "error") this.limitUsage.addError(nowMs);
      if (frame.message !== null) this.controls.handleMessage(frame.message);
      if (frame.message?.type === "authentication_required") {
        this.#isAuthenticationRequired = true;
        this.#showState(null, "");
      }
    }
    this.log.add({
      direction: frame.direction,
      kind: kindOf(frame),
      type: typeOf(frame),
      summary: frame.automatic ? "sent by the timer" : summarize(frame, clock.offsetMs),
      text: frame.text,
      bytes: frame.bytes,
      atMs: frame.atMs,
      level: { error: "bad", gap: "warn" }[frame.message?.type] ?? null,
    });
  }

  // ---- address, preset, link ----

  #presetName(slug) {
    return this.config.presets.find((preset) => preset.slug === slug)?.name ?? slug;
  }

  #handleUrlInput() {
    this.#showPreset();
    this.#handleChange();
  }

  #handlePreset() {
    this.url.value = withPreset(this.url.value, this.preset.value);
    // An earlier selection would override the settings of the preset.
    this.controls.setSelection(emptySelection());
    this.#showPreset();
    this.#handleChange();
    if (!this.session.isActive) return;
    this.session.disconnect();
    this.#connect();
  }

  #showPreset() {
    const slug = presetOf(this.url.value);
    const known = this.config.presets.find((preset) => preset.slug === slug);
    let stranger = this.preset.querySelector("[data-stranger]");
    if (slug && !known) {
      stranger ??= this.preset.appendChild(new Option("", ""));
      stranger.dataset.stranger = "";
      stranger.value = slug;
      stranger.textContent = `${slug} (unknown)`;
    } else {
      stranger?.remove();
    }
    this.preset.value = slug;
    const description = known?.description ?? "";
    setText(this.find("preset-description"), description);
    setAttribute(this.preset, "title", description || null);
  }

  #handleChange() {
    this.#writeLink();
    this.#showSnippets();
  }

  #writeLink() {
    const base = withPreset(this.url.value, "");
    const hash = writeLink(this.controls.selection, {
      url: base === this.ownUrl ? null : base,
      reconnect: this.session.autoReconnect,
    });
    const address = new URL(location.href);
    const slug = presetOf(this.url.value);
    if (slug) address.searchParams.set("preset", slug);
    else address.searchParams.delete("preset");
    address.hash = hash;
    if (address.href !== location.href) history.replaceState(null, "", address);
  }

  #readLink() {
    const { selection, url, reconnect } = readLink(location.hash.slice(1));
    const slug = new URL(location.href).searchParams.get("preset") ?? "";
    if (this.session.isActive) this.session.disconnect();
    this.url.value = withPreset(url ?? this.ownUrl, slug);
    this.session.autoReconnect = reconnect;
    this.find("auto-reconnect").checked = reconnect;
    this.controls.setSelection(selection);
    this.#showPreset();
    this.#showSnippets();
  }

  #reset() {
    const wasActive = this.session.isActive;
    this.session.disconnect();
    this.session.autoReconnect = false;
    this.find("auto-reconnect").checked = false;
    this.session.setAutoPing(true);
    this.find("auto-ping").checked = true;
    this.url.value = this.ownUrl;
    this.controls.setSelection(emptySelection());
    this.statistics.reset();
    this.log.clear();
    this.#showPreset();
    this.#handleChange();
    if (wasActive) this.#connect();
    else this.#showNumbers();
    setText(this.announcer, "Everything is back to its default.");
  }

  #editMessage(text) {
    this.tabs.choose("tab-send");
    this.composer.put(text);
  }

  // ---- words and numbers ----

  #showNumbers() {
    const nowMs = Date.now();
    this.tiles.show(nowMs);
    this.controls.tick();
    this.#showCountdown(nowMs);
    this.facts.show(nowMs);
    this.meters.show(nowMs);
  }

  #showCountdown(nowMs) {
    const { state } = this.session;
    if (state.name !== "waiting") return;
    const seconds = Math.max(1, Math.ceil((state.retryAtMs - nowMs) / 1000));
    setText(this.find("badge-words"), `Reconnecting in ${seconds} s`);
  }

  #showSnippets() {
    const { selection, effective } = this.controls;
    const messages = Object.values(messagesFor(selection, [], this.controls.knownTypes)).flat();
    // A program that subscribes to nothing receives nothing.
    if (presetOf(this.url.value) === "" && effective.metric_types.length === 0) {
      messages.unshift({ type: "subscribe", metric_types: ["all"] });
    }
    const recipe = { url: this.url.value.trim(), messages };
    for (const [name, make] of Object.entries({ javascript: javaScriptFor, python: pythonFor })) {
      setText(this.page.querySelector(`[data-snippet="${name}"] [data-code]`), make(recipe));
    }
  }
}

function joinSentences({ title, meaning, advice }) {
  return [`${title}.`, meaning, advice].filter(Boolean).join(" ");
}

const config = JSON.parse(document.getElementById("page-config").textContent);
new ConsolePage(config, document).start();
