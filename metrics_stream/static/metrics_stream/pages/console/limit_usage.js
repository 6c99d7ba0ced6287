// How much of the server's limits this client has used. Time is passed in.

/** How many messages this client may still send, by the limits in the welcome; the server has the last word. */
export class LimitUsage {
  #left = 0;
  #atMs = 0;
  #errorsAtMs = [];

  /** @param {object | null} limits as in the welcome, or null when unknown @param {number} nowMs */
  reset(limits, nowMs) {
    this.limits = limits;
    this.#left = limits?.message_burst ?? 0;
    this.#atMs = nowMs;
    this.#errorsAtMs = [];
  }

  /** @param {number} nowMs */
  takeMessage(nowMs) {
    this.#left = Math.max(0, this.messagesLeft(nowMs) - 1);
    this.#atMs = nowMs;
  }

  /** @param {number} nowMs @returns {number} */
  messagesLeft(nowMs) {
    if (!this.limits) return Infinity;
    const gained = ((nowMs - this.#atMs) / 1000) * this.limits.messages_per_second;
    return Math.min(this.limits.message_burst, this.#left + gained);
  }

  /** @param {number} nowMs */
  addError(nowMs) {
    this.#errorsAtMs.push(nowMs);
  }

  /** @param {number} nowMs @returns {number} errors within the last minute */
  errors(nowMs) {
    while (this.#errorsAtMs.length && nowMs - this.#errorsAtMs[0] > 60_000) this.#errorsAtMs.shift();
    return this.#errorsAtMs.length;
  }
}
