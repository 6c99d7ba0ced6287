// How much of the limits in the welcome this client has used. It is an estimate: the server counts by itself.

export class LimitUsage {
  #left = 0;
  #atMs = 0;
  #errorsAtMs = [];

  /** @param {object | null} limits as in the welcome; null: unknown @param {number} nowMs */
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
