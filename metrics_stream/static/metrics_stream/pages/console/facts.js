// Facts about the connection: the client's id, the round trip, the server's clock, and for how long it has been open.

import { setAttribute, setText } from "../../charts/dom.js";
import { formatDuration, formatNumber } from "../../client/format.js";

const UNKNOWN = "–";

export class Facts {
  /** @param {HTMLElement} root @param {Session} session */
  constructor(root, session) {
    this.session = session;
    this.nodes = new Map([...root.querySelectorAll("[data-fact]")].map((node) => [node.dataset.fact, node]));
  }

  /** @param {number} nowMs local time */
  show(nowMs) {
    const { clock, welcome, openedAtMs } = this.session;
    this.#showFact("client", welcome?.client_id === undefined ? UNKNOWN : String(welcome.client_id));
    const isKnown = welcome !== null && clock.best !== null;
    this.#showFact("round-trip", isKnown ? formatNumber(clock.roundTripMs, "ms") : UNKNOWN);
    this.#showFact("clock", isKnown ? formatClockOffset(clock) : UNKNOWN);
    this.#showFact("connected", openedAtMs === null ? UNKNOWN : formatDuration(nowMs - openedAtMs));
  }

  #showFact(name, text) {
    const node = this.nodes.get(name);
    setText(node, text);
    setAttribute(node, "title", name === "client" && text !== UNKNOWN ? text : null);
  }
}

function formatClockOffset({ best }) {
  const offset = Math.round(best.offsetMs);
  return `${offset > 0 ? "+" : ""}${formatNumber(offset, "ms", 0)} ±${Math.ceil(best.roundTripMs / 2)}`;
}
