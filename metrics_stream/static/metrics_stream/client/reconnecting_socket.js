// The lower layer of every WebSocket client here: one socket at a time, its deadlines, and the wait before the next
// attempt. It does not know the messages; `Connection` and the console's `Session` stand on it.

import { waitMilliseconds } from "./backoff.js";

/** The code that browsers report for a connection that ended without a closing handshake. */
const ABNORMAL_CLOSE = 1006;

/**
 * @typedef {object} Timers
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 *
 * @typedef {object} Ending
 * @property {number} code the close code
 * @property {string} reason
 * @property {boolean} isByServer false where this client ended it; `reason` then is text for a person
 * @property {boolean} wasOpen whether the socket had been open
 *
 * @typedef {object} SocketState
 * @property {"connecting" | "open" | "waiting" | "closed"} name
 * @property {number} tries attempts that have failed since the last confirm()
 * @property {number | null} retryAtMs local time of the next attempt, while waiting
 * @property {Ending | null} ending how the socket ended; null while connecting and open, and after a refused address
 * @property {string} problem why the browser refused the address; else empty
 *
 * @typedef {object} SocketOptions
 * @property {() => WebSocket} openSocket called for each attempt; what it throws is the `problem`
 * @property {Timers} timers
 * @property {() => number} localNow milliseconds since the epoch
 * @property {() => number} random a number from 0 up to 1
 * @property {number | null} connectTimeoutMs how long an attempt may take until the first message; null: no limit
 * @property {(code: number) => boolean} mayReconnect
 * @property {(state: SocketState) => void} onState
 * @property {(data: string | ArrayBuffer) => void} onMessage
 */

/** @type {Timers} the browser's own */
export const BROWSER_TIMERS = {
  setTimeout: (callback, milliseconds) => globalThis.setTimeout(callback, milliseconds),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

export class ReconnectingSocket {
  #options;
  #socket = null;
  #retryTimer = null;
  #deadlineTimer = null;
  #isOpen = false;
  #tries = 0;
  #isWaiting = false;

  /** @param {SocketOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** Open a socket in place of any other, and count the attempts anew. */
  start() {
    this.#tries = 0;
    this.#attempt();
  }

  /** While waiting, try at once. */
  retryNow() {
    if (this.#isWaiting) this.#attempt();
  }

  /** Close the socket and try no more, without an event. */
  stop() {
    this.#tries = 0;
    this.#release(1000);
  }

  /** Close the socket as if the server had closed it with `code`. @param {number} code @param {string} reason */
  fail(code, reason) {
    const wasOpen = this.#isOpen;
    this.#release(1000);
    this.#handleEnd({ code, reason, isByServer: false, wasOpen });
  }

  /** Note that the server is the expected one: the next failure is the first. */
  confirm() {
    this.#tries = 0;
    this.#clearDeadline();
  }

  /** @param {string} text @returns {boolean} whether there was a socket to send it on */
  send(text) {
    if (this.#socket === null) return false;
    this.#socket.send(text);
    return true;
  }

  /** Fail unless a message comes within this time. @param {number} milliseconds */
  expectMessageWithin(milliseconds) {
    this.#clearDeadline();
    const { timers } = this.#options;
    this.#deadlineTimer = timers.setTimeout(
      () => this.fail(ABNORMAL_CLOSE, "the server does not answer"),
      milliseconds,
    );
  }

  #attempt() {
    this.#release(1000);
    const { openSocket, connectTimeoutMs, onMessage } = this.#options;
    let socket;
    try {
      socket = openSocket();
    } catch (error) {
      // The browser throws for an address that can never work: a SyntaxError, or ws: on a secure page.
      this.#emitState({ name: "closed", problem: error.message });
      return;
    }
    this.#socket = socket;
    socket.onopen = () => {
      this.#isOpen = true;
      this.#emitState({ name: "open" });
    };
    socket.onmessage = (event) => {
      this.#clearDeadline();
      onMessage(event.data);
    };
    socket.onclose = ({ code, reason }) => {
      const wasOpen = this.#isOpen;
      this.#release(null);
      this.#handleEnd({ code, reason, isByServer: true, wasOpen });
    };
    if (connectTimeoutMs !== null) this.expectMessageWithin(connectTimeoutMs);
    this.#emitState({ name: "connecting" });
  }

  #handleEnd(ending) {
    const { timers, localNow, random, mayReconnect } = this.#options;
    this.#tries += 1;
    if (!mayReconnect(ending.code)) {
      this.#emitState({ name: "closed", ending });
      return;
    }
    const milliseconds = waitMilliseconds(this.#tries, random);
    this.#isWaiting = true;
    this.#retryTimer = timers.setTimeout(() => this.#attempt(), milliseconds);
    this.#emitState({ name: "waiting", ending, retryAtMs: localNow() + milliseconds });
  }

  #clearDeadline() {
    this.#options.timers.clearTimeout(this.#deadlineTimer);
    this.#deadlineTimer = null;
  }

  /** Let go of the socket and of every timer; a code closes the socket as well. */
  #release(closeCode) {
    this.#options.timers.clearTimeout(this.#retryTimer);
    this.#clearDeadline();
    this.#isWaiting = false;
    this.#isOpen = false;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (closeCode !== null) socket.close(closeCode);
  }

  #emitState(state) {
    this.#options.onState({ tries: this.#tries, retryAtMs: null, ending: null, problem: "", ...state });
  }
}
