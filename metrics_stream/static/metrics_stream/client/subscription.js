// The subscription and settings of a client, kept so that they can be sent again after every reconnect.

/** The interval at rest: a tenth of the usual frames, and 100 kB/s still fit into what servers keep for a client. */
export const REST_SECONDS = 10;

/** The shortest interval that servers accept. */
const SHORTEST_SECONDS = 0.1;

export class Subscription {
  #subscribed = new Set();
  #unsubscribed = new Set();
  #settings = new Map();
  // The interval at rest; null while awake.
  #restSeconds = null;
  #fastSeconds = null;
  /** @type {object | null} selection and delivery in the server's welcome */
  granted = null;

  /** @param {string[]} metricTypes @returns {object} the message to send; so do the next two */
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

  /** @param {object} message its keys replace those of the previous message of its type */
  configure(message) {
    this.#settings.set(message.type, { ...this.#settings.get(message.type), ...message });
    return message;
  }

  /**
   * Return the messages to send after a welcome.
   *
   * @param {object | null} past the past to request: `resume_from`, or `backfill_seconds` and `max_points`
   * @returns {object[]}
   */
  messages(past) {
    const settings = [...this.#settings.values()].filter(({ type }) => type !== "set_update_interval");
    if (this.isSlowed || this.#settings.has("set_update_interval") || this.#isHastened)
      settings.push(this.intervalMessage);
    // The types of the preset resume by the address; requested here as well, their metrics would come twice.
    const given = past !== null && "resume_from" in past ? (this.granted?.metric_types ?? []) : [];
    const wanted = [...this.#subscribed].filter((slug) => !given.includes(slug));
    const selections = [
      { type: "subscribe", metric_types: wanted, ...past },
      { type: "unsubscribe", metric_types: [...this.#unsubscribed] },
    ];
    // "Nothing, then system" and "all except system" need opposite orders.
    if (this.#unsubscribed.has("all")) selections.reverse();
    return [...settings, ...selections.filter((message) => message.metric_types.length)].filter(Boolean);
  }

  /** @param {string[]} metricTypes @returns {boolean} whether they include everything subscribed */
  isWhole(metricTypes) {
    return [...this.#subscribed].every((slug) => slug === "all" || metricTypes.includes(slug));
  }

  /** @returns {string[]} */
  get metricTypes() {
    return [...this.#subscribed];
  }

  // ---- the interval ----

  /** @returns {number | null} the interval in seconds while awake: as set, else of the preset, else the default */
  get intervalSeconds() {
    return this.#settings.get("set_update_interval")?.interval_seconds ?? this.granted?.interval_seconds ?? null;
  }

  get isAtRest() {
    return this.#restSeconds !== null;
  }

  /** Whether rest makes the interval longer; it never makes it shorter. */
  get isSlowed() {
    return this.isAtRest && this.intervalSeconds !== null && this.intervalSeconds < this.#restIntervalSeconds;
  }

  /** @returns {object | null} the message that requests the interval of now */
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

  /** Halve the interval at rest: more gathers in it than the server keeps. */
  restLess() {
    this.#restSeconds /= 2;
  }

  /** @param {number | null} seconds a shorter interval for a while; null ends it */
  hasten(seconds) {
    this.#fastSeconds = seconds === null ? null : Math.max(SHORTEST_SECONDS, seconds);
  }

  get #isHastened() {
    return this.#fastSeconds !== null && this.intervalSeconds !== null && this.#fastSeconds < this.intervalSeconds;
  }

  get #restIntervalSeconds() {
    const mode = this.#settings.get("set_batching")?.mode ?? this.granted?.mode;
    // Where frames hold only the newest metrics or a summary, rest loses values. At twice the interval a line still
    // looks continuous.
    return mode !== undefined && mode !== "all"
      ? Math.min(this.#restSeconds, 2 * Math.max(1, this.intervalSeconds))
      : this.#restSeconds;
  }
}
