// The connection's state in words: Live, Connecting…, Reconnecting in 4 s, Stopped, with a button to come back.
// Room: pages. Works on the markup of _connection.html.

import { setAttribute, setText } from "../charts/dom.js";

export class ConnectionBadge {
  #removers = [];
  #timer = null;

  /** @param {HTMLElement} root the element with data-connection @param {Connection} connection */
  constructor(root, connection) {
    this.connection = connection;
    this.badge = root.querySelector("[data-connection-badge]");
    this.words = root.querySelector("[data-connection-words]");
    this.reason = root.querySelector("[data-connection-reason]");
    this.button = root.querySelector("[data-connection-button]");
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

  #show({ announce }) {
    clearTimeout(this.#timer);
    const { state } = this.connection;
    const words = connectionWords(state, this.connection.localNow());
    setAttribute(this.badge, "data-state", state.name);
    setText(this.words, words);
    const reason = state.name === "live" ? "" : state.reason;
    setText(this.reason, reason);
    setAttribute(this.reason, "title", reason || null);
    setAttribute(this.button, "hidden", state.name === "live" || state.name === "connecting");
    // The countdown is not announced: a screen reader would speak every second.
    if (announce) {
      const news = state.name === "waiting" ? "lost" : words.toLowerCase();
      setText(this.announcer, `Connection ${news}${reason ? `: ${reason}` : ""}`);
    }
    if (state.name === "waiting") this.#timer = setTimeout(() => this.#show({ announce: false }), 250);
  }
}

/**
 * @param {ConnectionState} state
 * @param {number} localNowMs
 * @returns {string}
 */
export function connectionWords(state, localNowMs) {
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
