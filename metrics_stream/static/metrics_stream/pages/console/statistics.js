// Statistics of the received frames: totals, rates over the last seconds, ages over the last minute.

/** Seconds that are kept; ages are computed over all of them. */
export const WINDOW_SECONDS = 60;

/** Rates are computed over this many full seconds: steady enough to read, quick enough to follow a change. */
const RATE_SECONDS = 5;

/** Ages kept per second. A random sample represents all of them, so that no load can fill the memory. */
const AGES_PER_SECOND = 200;

function emptyBucket(second) {
  return { second, frames: 0, metrics: 0, bytes: 0, dataFrames: 0, ages: [], agesSeen: 0, oldestMs: -Infinity };
}

export class Statistics {
  constructor() {
    this.reset();
  }

  reset() {
    this.frames = 0;
    this.dataFrames = 0;
    this.metrics = 0;
    this.bytes = 0;
    this.sentFrames = 0;
    this.sentBytes = 0;
    this.gaps = 0;
    this.dropped = 0;
    this.droppedUnknown = false;
    this.errors = 0;
    this.firstMs = null;
    /** @type {ReturnType<typeof emptyBucket>[]} */
    this.buckets = [];
  }

  /** @param {number} bytes */
  addSent(bytes) {
    this.sentFrames += 1;
    this.sentBytes += bytes;
  }

  /**
   * @param {{message: object | null, bytes: number, atMs: number}} frame a received one
   * @param {number} offsetMs milliseconds by which the server's clock is ahead of the local one
   */
  addReceived({ message, bytes, atMs }, offsetMs) {
    const bucket = this.#bucket(atMs);
    this.frames += 1;
    this.bytes += bytes;
    bucket.frames += 1;
    bucket.bytes += bytes;
    if (message?.type === "gap") {
      this.gaps += 1;
      if (Number.isFinite(message.dropped)) this.dropped += message.dropped;
      else this.droppedUnknown = true;
    } else if (message?.type === "error") {
      this.errors += 1;
    }
    const metrics = metricsOf(message);
    if (metrics.length === 0) return;
    this.dataFrames += 1;
    bucket.dataFrames += 1;
    this.metrics += metrics.length;
    bucket.metrics += metrics.length;
    // The age of replayed metrics is not the delay of the stream.
    if (message.replayed) return;
    for (const metric of metrics) {
      const timestampMs = Date.parse(metric?.timestamp);
      if (!Number.isNaN(timestampMs)) this.#addAge(bucket, atMs + offsetMs - timestampMs);
    }
  }

  #addAge(bucket, ageMs) {
    bucket.agesSeen += 1;
    bucket.oldestMs = Math.max(bucket.oldestMs, ageMs);
    if (bucket.ages.length < AGES_PER_SECOND) {
      bucket.ages.push(ageMs);
      return;
    }
    const place = Math.floor(Math.random() * bucket.agesSeen);
    if (place < AGES_PER_SECOND) bucket.ages[place] = ageMs;
  }

  #bucket(atMs) {
    this.firstMs ??= atMs;
    const second = Math.floor(atMs / 1000);
    let bucket = this.buckets.at(-1);
    if (bucket === undefined || bucket.second < second) {
      bucket = emptyBucket(second);
      this.buckets.push(bucket);
      this.#forgetBefore(second - WINDOW_SECONDS);
    }
    return bucket;
  }

  #forgetBefore(second) {
    while (this.buckets.length && this.buckets[0].second <= second) this.buckets.shift();
  }

  /**
   * @param {number} nowMs
   * @returns {{frames: number, metrics: number, bytes: number}} per second, over the last full seconds
   */
  rates(nowMs) {
    const now = Math.floor(nowMs / 1000);
    const elapsed = this.firstMs === null ? 0 : now - Math.floor(this.firstMs / 1000);
    const seconds = Math.min(RATE_SECONDS, Math.max(1, elapsed));
    const sum = { frames: 0, metrics: 0, bytes: 0 };
    for (const bucket of this.buckets) {
      if (bucket.second < now - seconds || bucket.second >= now) continue;
      for (const key of Object.keys(sum)) sum[key] += bucket[key];
    }
    for (const key of Object.keys(sum)) sum[key] /= seconds;
    return sum;
  }

  /** @param {number} nowMs @returns {{p50: number, p95: number, oldest: number} | null} milliseconds, last minute */
  ages(nowMs) {
    this.#forgetBefore(Math.floor(nowMs / 1000) - WINDOW_SECONDS);
    const ages = this.buckets.flatMap((bucket) => bucket.ages).sort((a, b) => a - b);
    if (ages.length === 0) return null;
    const at = (share) => ages[Math.min(ages.length - 1, Math.floor(share * ages.length))];
    return { p50: at(0.5), p95: at(0.95), oldest: Math.max(...this.buckets.map((bucket) => bucket.oldestMs)) };
  }

  /**
   * @param {"frames" | "metrics" | "bytes"} key
   * @param {number} nowMs
   * @returns {number[]} one number per full second of the window, oldest first
   */
  history(key, nowMs) {
    const now = Math.floor(nowMs / 1000);
    const values = new Array(WINDOW_SECONDS).fill(0);
    for (const bucket of this.buckets) {
      const place = bucket.second - (now - WINDOW_SECONDS);
      if (place >= 0 && place < WINDOW_SECONDS) values[place] = bucket[key];
    }
    return values;
  }

  /** @param {number} nowMs @returns {number[]} the median age of each second, oldest first; 0 without metrics */
  ageHistory(nowMs) {
    const now = Math.floor(nowMs / 1000);
    const values = new Array(WINDOW_SECONDS).fill(0);
    for (const bucket of this.buckets) {
      const place = bucket.second - (now - WINDOW_SECONDS);
      if (place < 0 || place >= WINDOW_SECONDS || bucket.ages.length === 0) continue;
      const ages = [...bucket.ages].sort((a, b) => a - b);
      values[place] = Math.max(0, ages[Math.floor(ages.length / 2)]);
    }
    return values;
  }
}

/** @param {object | null} message @returns {object[]} the metrics in a data frame; empty for other frames */
export function metricsOf(message) {
  if (message?.type === "metric_batch" && Array.isArray(message.data)) return message.data;
  const isUpdate = message?.type === "metric_update" && message.data !== null && typeof message.data === "object";
  return isUpdate ? [message.data] : [];
}
