// The store that a page shows, and the next one while it is being filled.

import { Store } from "./store.js";

export class Feed {
  #tracks;
  #windowMs = 0;
  /** @type {Store | null} shown once it is filled */
  #next = null;
  #awaitedTypes = new Set();
  // Types whose past has not come, even after the page stopped waiting for it.
  #pendingTypes = new Set();
  #parts = [];

  /** @param {Track[]} tracks */
  constructor(tracks) {
    this.#tracks = tracks;
    /** @type {Store} what is shown */
    this.store = new Store(tracks);
  }

  /** @returns {boolean} whether the page waits for the past */
  get isFilling() {
    return this.#awaitedTypes.size > 0;
  }

  /** @returns {boolean} whether the requested past has not come; it is lost when the connection breaks */
  get isBackfillPending() {
    return this.#pendingTypes.size > 0;
  }

  /**
   * Collect until the `backfill` of these metric types is complete, so that a chart is filled in one step.
   *
   * @param {string[]} metricTypes
   * @param {{windowMs: number, isAfresh: boolean}} request how far back the page shows; whether it shows another time
   */
  expect(metricTypes, { windowMs, isAfresh }) {
    this.#windowMs = isAfresh ? windowMs : Math.max(this.#windowMs, windowMs);
    this.#awaitedTypes = new Set(metricTypes);
    this.#pendingTypes = new Set(metricTypes);
    this.#parts = [];
    if (isAfresh) this.#next = new Store(this.#tracks);
    for (const store of [this.store, this.#next]) store?.widen(this.#windowMs);
    if (!this.isFilling) this.settle();
  }

  /** Keep a longer window from now on, with a reserve, so that it need not grow again soon. @param {number} windowMs */
  keep(windowMs) {
    if (windowMs <= this.#windowMs) return;
    this.#windowMs = 1.5 * windowMs;
    for (const store of [this.store, this.#next]) store?.widen(this.#windowMs);
  }

  /** @returns {Store} where to add metrics of the time that is shown, or will be shown */
  get target() {
    return this.#next ?? this.store;
  }

  /** @param {object} backfill as it came over the wire @returns {boolean} whether it was the last one */
  fill(backfill) {
    this.#parts.push(backfill);
    if (!backfill.done) return false;
    const wasFilling = this.isFilling;
    for (const slug of backfill.metric_types) {
      this.#awaitedTypes.delete(slug);
      this.#pendingTypes.delete(slug);
    }
    if (!this.isFilling) this.settle();
    return wasFilling && !this.isFilling;
  }

  /** Empty the store that is shown. */
  forget() {
    this.store = new Store(this.#tracks);
    this.store.widen(this.#windowMs);
  }

  /** Stop waiting, and keep the store that is shown. */
  abandon() {
    this.#awaitedTypes.clear();
    this.#pendingTypes.clear();
    this.#parts = [];
    this.#next = null;
  }

  /** Stop waiting, and show what has come. */
  settle() {
    this.#awaitedTypes.clear();
    this.store = this.#next ?? this.store;
    this.#next = null;
    for (const part of this.#parts.splice(0)) this.store.fill(part);
  }
}
