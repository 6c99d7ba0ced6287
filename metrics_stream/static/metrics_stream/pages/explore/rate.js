// How often something comes: the number of arrivals each second, over the last seconds.

/** Long enough for what comes every five seconds, short enough to show that it has ended. */
const WINDOW_MS = 15_000;

const SLOT_MS = 1_000;
const SLOTS = WINDOW_MS / SLOT_MS;

export class Rate {
  #counts = new Uint32Array(SLOTS);
  #slot = 0;

  /** @param {number} nowMs */
  constructor(nowMs) {
    this.sinceMs = nowMs;
    this.#slot = Math.floor(nowMs / SLOT_MS);
  }

  /** @param {number} nowMs when it came */
  add(nowMs) {
    this.#advance(nowMs);
    this.#counts[this.#slot % SLOTS] += 1;
  }

  /** @param {number} nowMs @returns {number | null} arrivals each second; null while too little has been seen */
  perSecond(nowMs) {
    this.#advance(nowMs);
    const seenMs = Math.min(WINDOW_MS, nowMs - this.sinceMs);
    if (seenMs < 2 * SLOT_MS) return null;
    return this.#counts.reduce((sum, count) => sum + count, 0) / (seenMs / 1000);
  }

  #advance(nowMs) {
    const slot = Math.floor(nowMs / SLOT_MS);
    const from = Math.max(this.#slot + 1, slot - SLOTS + 1);
    for (let passed = from; passed <= slot; passed += 1) this.#counts[passed % SLOTS] = 0;
    this.#slot = Math.max(this.#slot, slot);
  }
}
