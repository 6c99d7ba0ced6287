// What a page shows, and what is still being filled before it is shown: one store after the other. Room: client; pure.

import { Store } from "./store.js";

export class Feed {
  #tracks;
  #windowMs = 0;
  /** @type {Store | null} what will be shown once it is filled */
  #next = null;
  #awaitedTypes = new Set();
  // The same, however long it takes: what is shown meanwhile lacks it.
  #pendingTypes = new Set();
  #parts = [];

  /** @param {Track[]} tracks */
  constructor(tracks) {
    this.#tracks = tracks;
    /** @type {Store} what is shown */
    this.store = new Store(tracks);
  }

  /** @returns {boolean} whether what came before is on its way */
  get isFilling() {
    return this.#awaitedTypes.size > 0;
  }

  /** @returns {boolean} whether what was asked for of the past has not come; a connection that broke takes it along */
  get isBackfillPending() {
    return this.#pendingTypes.size > 0;
  }

  /**
   * Gather what comes until the `backfill` of these metric types is complete, so that a chart is filled at once.
   *
   * @param {string[]} metricTypes
   * @param {{windowMs: number, isAfresh: boolean}} wish how far back anyone looks; whether all is of another time
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

  /** Keep as much from now on, and some more, so that this is not needed again soon. @param {number} windowMs */
  keep(windowMs) {
    if (windowMs <= this.#windowMs) return;
    this.#windowMs = 1.5 * windowMs;
    for (const store of [this.store, this.#next]) store?.widen(this.#windowMs);
  }

  /** @returns {Store} where to put what comes of the time that is shown, or will be */
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

  /** Let go of what is shown; what comes of it from now on is all that there will be. */
  forget() {
    this.store = new Store(this.#tracks);
    this.store.widen(this.#windowMs);
  }

  /** Stay with what is shown. */
  abandon() {
    this.#awaitedTypes.clear();
    this.#pendingTypes.clear();
    this.#parts = [];
    this.#next = null;
  }

  /** Show what there is. */
  settle() {
    this.#awaitedTypes.clear();
    this.store = this.#next ?? this.store;
    this.#next = null;
    for (const part of this.#parts.splice(0)) this.store.fill(part);
  }
}
