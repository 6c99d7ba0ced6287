// The state of the connection as a text: Live, Connecting…, Reconnecting in 4 s, Stopped with a button to reconnect,
// Signed out with a link to sign in. While live, the page may show another time instead. Works on the markup of
// _connection.html.

import { setAttribute, setText } from "../charts/dom.js";
import { FORBIDDEN } from "../client/close_codes.js";
import { signInAddress } from "./sign_in.js";

const BEAT_MS = 700;

export class ConnectionBadge {
  #removers = [];
  #timer = null;
  /** @type {{state: string, words: string} | null} */
  #shownTime = null;

  /** @param {HTMLElement} root the element with data-connection @param {Connection} connection */
  constructor(root, connection) {
    this.connection = connection;
    this.badge = root.querySelector("[data-connection-badge]");
    this.mark = root.querySelector("[data-connection-mark]");
    this.words = root.querySelector("[data-connection-words]");
    this.reason = root.querySelector("[data-connection-reason]");
    this.button = root.querySelector("[data-connection-button]");
    // Pages that a share link opened have no such link: their viewers need no account.
    this.signIn = root.querySelector("[data-connection-sign-in]");
    this.signInPath = this.signIn?.getAttribute("href") ?? null;
    this.announcer = root.querySelector("[data-connection-announcer]");
  }

  start() {
    const reconnect = () => {
      if (this.connection.state.name === "waiting") this.connection.retryNow();
      else this.connection.start();
    };
    this.button.addEventListener("click", reconnect);
    this.#removers.push(() => this.button.removeEventListener("click", reconnect));
    this.#removers.push(this.connection.on("state", () => this.#show({ announce: true })));
    this.#show({ announce: false });
  }

  stop() {
    for (const remove of this.#removers.splice(0)) remove();
    clearTimeout(this.#timer);
  }

  /** @param {{state: string, words: string} | null} time shown while connected; null: live */
  setTime(time) {
    if (time?.state === this.#shownTime?.state && time?.words === this.#shownTime?.words) return;
    const announce = time?.state !== this.#shownTime?.state;
    this.#shownTime = time;
    if (this.connection.state.name === "live") this.#show({ announce });
  }

  /** Show that a frame came. */
  beat() {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.mark.animate([{ boxShadow: "0 0 0 0 currentcolor" }, { boxShadow: "0 0 0 0.375rem transparent" }], BEAT_MS);
  }

  #showSignIn(isOffered) {
    if (this.signIn === null) return;
    setAttribute(this.signIn, "hidden", !isOffered);
    if (isOffered) setAttribute(this.signIn, "href", signInAddress(this.signInPath, location));
  }

  #show({ announce }) {
    clearTimeout(this.#timer);
    const { state } = this.connection;
    const time = state.name === "live" ? this.#shownTime : null;
    const refusal = state.isRefused ? describeRefusal(this.signInPath !== null) : null;
    const words = refusal?.words ?? time?.words ?? describeState(state, this.connection.localNow());
    setAttribute(this.badge, "data-state", time?.state ?? state.name);
    setText(this.words, words);
    const reason = state.name === "live" ? "" : (refusal?.reason ?? state.reason);
    setText(this.reason, reason);
    setAttribute(this.reason, "title", reason || null);
    setAttribute(this.button, "hidden", state.name === "live" || state.name === "connecting" || state.isRefused);
    this.#showSignIn(state.isRefused || (state.name === "stopped" && state.closeCode === FORBIDDEN));
    // The countdown is not announced: a screen reader would speak every second.
    if (announce && refusal !== null) setText(this.announcer, refusal.reason);
    else if (announce) {
      const news = state.name === "waiting" ? "lost" : words.toLowerCase();
      setText(this.announcer, time?.words ?? `Connection ${news}${reason ? `: ${reason}` : ""}`);
    }
    if (state.name === "waiting") this.#timer = setTimeout(() => this.#show({ announce: false }), 250);
  }
}

/**
 * Return the texts for a sign-in or a link that has ended.
 *
 * @param {boolean} canSignIn false on pages that a share link opened
 * @returns {{words: string, reason: string}}
 */
export function describeRefusal(canSignIn) {
  if (!canSignIn) return { words: "Link ended", reason: "This link does not work any more. Ask for a new one." };
  return { words: "Signed out", reason: "You have been signed out." };
}

/**
 * @param {ConnectionState} state
 * @param {number} localNowMs
 * @returns {string}
 */
export function describeState(state, localNowMs) {
  switch (state.name) {
    case "live":
      return "Live";
    case "connecting":
      return state.tries > 0 ? "Reconnecting…" : "Connecting…";
    case "waiting":
      return `Reconnecting in ${Math.max(1, Math.ceil((state.retryAtMs - localNowMs) / 1000))} s`;
    default:
      return "Stopped";
  }
}
