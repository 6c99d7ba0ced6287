// What a client wants of the server, kept so that it can be said again after every reconnect. Room: client; pure.

/** A connection at rest gets a frame this seldom: a tenth of the usual, and 100 kB/s still fit into what servers keep. */
export const REST_SECONDS = 10;

/** The shortest interval that servers give. */
const SHORTEST_SECONDS = 0.1;

export class Subscription {
  #subscribed = new Set();
  #unsubscribed = new Set();
  #settings = new Map();
  // The interval at rest; null while awake.
  #restSeconds = null;
  #fastSeconds = null;
  /** @type {object | null} settings and delivery as the server's welcome said them */
  granted = null;

  /** @param {string[]} metricTypes @returns {object} the message that asks for it, as do the next ones */
  subscribe(metricTypes) {
    if (metricTypes.includes("all")) this.#unsubscribed.clear();
    for (const slug of metricTypes) {
      this.#subscribed.add(slug);
      this.#unsubscribed.delete(slug);
    }
    return { type: "subscribe", metric_types: metricTypes };
  }

  /** @param {string[]} metricTypes */
  unsubscribe(metricTypes) {
    if (metricTypes.includes("all")) {
      this.#subscribed.clear();
      this.#unsubscribed.clear();
    }
    for (const slug of metricTypes) {
      this.#subscribed.delete(slug);
      this.#unsubscribed.add(slug);
    }
    return { type: "unsubscribe", metric_types: metricTypes };
  }

  /** @param {object} message which replaces what it says of the one before it */
  configure(message) {
    this.#settings.set(message.type, { ...this.#settings.get(message.type), ...message });
    return message;
  }

  /**
   * Return what to say once a server has taken the client in.
   *
   * @param {object | null} past what to ask of the time before: `resume_from`, or `backfill_seconds` and `max_points`
   * @returns {object[]}
   */
  messages(past) {
    const settings = [...this.#settings.values()].filter(({ type }) => type !== "set_update_interval");
    if (this.isSlowed || this.#settings.has("set_update_interval") || this.#isHastened) settings.push(this.intervalMessage);
    // What the preset in the address gives resumes there; the same again would come twice.
    const given = past !== null && "resume_from" in past ? (this.granted?.metric_types ?? []) : [];
    const wanted = [...this.#subscribed].filter((slug) => !given.includes(slug));
    const selections = [
      { type: "subscribe", metric_types: wanted, ...past },
      { type: "unsubscribe", metric_types: [...this.#unsubscribed] },
    ];
    // "Nothing, then system" and "all, but not system" need opposite orders.
    if (this.#unsubscribed.has("all")) selections.reverse();
    return [...settings, ...selections.filter((message) => message.metric_types.length)].filter(Boolean);
  }

  /** @param {string[]} metricTypes @returns {boolean} whether that is all that was asked for */
  isWhole(metricTypes) {
    return [...this.#subscribed].every((slug) => slug === "all" || metricTypes.includes(slug));
  }

  /** @returns {string[]} */
  get metricTypes() {
    return [...this.#subscribed];
  }

  // ---- the interval ----

  /** @returns {number | null} the interval in seconds while awake: the wish, else the preset's or the default */
  get intervalSeconds() {
    return this.#settings.get("set_update_interval")?.interval_seconds ?? this.granted?.interval_seconds ?? null;
  }

  get isAtRest() {
    return this.#restSeconds !== null;
  }

  /** Whether rest makes a difference; it never makes an interval shorter. */
  get isSlowed() {
    return this.isAtRest && this.intervalSeconds !== null && this.intervalSeconds < this.#restIntervalSeconds;
  }

  /** @returns {object | null} the message that asks for the interval which counts now */
  get intervalMessage() {
    let seconds = this.isSlowed ? this.#restIntervalSeconds : this.intervalSeconds;
    if (!this.isSlowed && this.#isHastened) seconds = this.#fastSeconds;
    return seconds === null ? null : { type: "set_update_interval", interval_seconds: seconds };
  }

  rest() {
    this.#restSeconds ??= REST_SECONDS;
  }

  wake() {
    this.#restSeconds = null;
  }

  /** More gathers than the server keeps; half the time halves it. */
  restLess() {
    this.#restSeconds /= 2;
  }

  /** @param {number | null} seconds frames are wanted as often for a while, null ends it */
  hasten(seconds) {
    this.#fastSeconds = seconds === null ? null : Math.max(SHORTEST_SECONDS, seconds);
  }

  get #isHastened() {
    return this.#fastSeconds !== null && this.intervalSeconds !== null && this.#fastSeconds < this.intervalSeconds;
  }

  get #restIntervalSeconds() {
    const mode = this.#settings.get("set_batching")?.mode ?? this.granted?.mode;
    // Where frames hold the newest or a summary only, rest leaves out the rest. Every second one is still seen as one line.
    return mode !== undefined && mode !== "all" ? Math.min(this.#restSeconds, 2 * Math.max(1, this.intervalSeconds)) : this.#restSeconds;
  }
}
