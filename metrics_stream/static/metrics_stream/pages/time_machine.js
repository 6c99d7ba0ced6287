// Which time a dashboard shows: live, paused or replayed, how far back, and which stretch of it.
//
// Joins the connection, the feed and the player. The time bar and the keys call it; the page's address holds its state.

import { readTimeLink, writeTimeLink } from "../client/time_link.js";
import { Player } from "../client/player.js";

/** After this time the page stops waiting for the past, and shows it as it comes. */
const FILL_TIMEOUT_MS = 1_500;

/** The most points that a page requests, and the most for more than a day, for which the server sums up much. */
const MAX_BACKFILL_POINTS = 2_000;
const LONG_BACKFILL_POINTS = 1_000;
const LONG_BACKFILL_SECONDS = 86_400;

/** A year, and the most that the server sends. */
const LONGEST_BACKFILL_SECONDS = 31_622_400;
const SHORTEST_WINDOW_MS = 60_000;

/** How long the address may be out of date. */
const ADDRESS_DELAY_MS = 300;

/** A shorter lack at the beginning of a chart is not mentioned. */
const START_TOLERANCE_MS = 10_000;

/** Closer to the end than this counts as at the end. */
const END_TOLERANCE_MS = 500;

export class TimeMachine {
  #removers = [];
  #fillTimer = null;
  #linkTimer = null;
  #pausedAtMs = null;
  #openedLink;
  /** @type {number | null} where a replay stood before a zoom moved it */
  #unzoomedAtMs = null;
  /** How far back the page has data in full detail, in milliseconds. */
  #requestedMs = 0;
  // Whether the end of the linked run was taken from the local clock, as the server's is not known yet.
  #isEndGuessed = false;

  /**
   * @param {object} parts
   * @param {Connection} parts.connection
   * @param {Feed} parts.feed
   * @param {Runs} parts.runs
   * @param {Notices} parts.notices
   * @param {object} parts.config the page configuration
   * @param {number} parts.windowSeconds the longest window in the settings of a panel
   * @param {() => void} parts.changed
   */
  constructor({ connection, feed, runs, notices, config, windowSeconds, changed }) {
    Object.assign(this, { connection, feed, runs, notices, config, windowSeconds, changed });
    this.player = new Player(
      connection,
      (news) => this.#handleReplay(news),
      (atMs) => this.#backfillRequest(atMs),
    );
    this.#openedLink = readTimeLink(new URL(location.href).searchParams);
    /** @type {number | "run" | null} */
    this.window = this.#openedLink.window;
    this.zoom = this.#openedLink.zoom;
    /** How many metrics have come while the page is paused. */
    this.behind = 0;
  }

  /** Call before the connection starts. */
  start() {
    const { run, atMs } = this.#openedLink;
    const isReplay = run !== null || atMs !== null;
    // A link to a zoomed stretch shows its detail.
    const isAtZoom = this.zoom !== null && atMs !== null && Math.abs(atMs - this.zoom.toMs) < END_TOLERANCE_MS;
    if (isAtZoom && run !== null) this.#unzoomedAtMs = atMs;
    this.connection.backfill = isReplay ? null : this.#backfillRequest(null);
    this.#removers.push(this.connection.on("ready", (isResuming) => this.#handleReady(isResuming)));
    this.#removers.push(
      this.connection.on("recovered", (isWhole) => isWhole || this.feed.target.break(this.config.metric_types)),
    );
    // A replay is requested as soon as the connection is ready.
    this.#isEndGuessed = run !== null && atMs === null;
    if (this.#isEndGuessed) this.showRun(run);
    else if (isReplay) this.player.open(this.#openedLink);
    else this.#expectBackfill({ isAfresh: false });
  }

  stop() {
    for (const remove of this.#removers.splice(0)) remove();
    clearTimeout(this.#fillTimer);
    clearTimeout(this.#linkTimer);
    this.player.stop();
  }

  /** Call at intervals. */
  tick() {
    // A growing window, a paused page and a zoom reach further back as time goes on.
    const heldMs = this.#pausedAtMs === null ? 0 : this.connection.clock.now() - this.#pausedAtMs;
    this.feed.keep(this.#shownMs(this.nowMs) + heldMs);
  }

  // ---- the time ----

  get isReplaying() {
    return this.player.isReplaying;
  }

  get isPaused() {
    return this.isReplaying ? this.player.state !== "playing" : this.#pausedAtMs !== null;
  }

  /** @returns {boolean} whether the page shows the newest metrics as they come */
  get isLive() {
    return !this.isReplaying && this.#pausedAtMs === null;
  }

  /** @returns {number} the time that the page shows, in milliseconds */
  get nowMs() {
    return this.isReplaying ? this.player.clock.now() : (this.#pausedAtMs ?? this.connection.clock.now());
  }

  /** @returns {Moment} */
  get moment() {
    const { nowMs } = this;
    return { nowMs, windowMs: this.#windowMs(nowMs), zoom: this.zoom };
  }

  /** @returns {number | null} the first time with data, where a live page should show more than the server keeps */
  get firstShownMs() {
    const { nowMs, feed } = this;
    const shownMs = this.#windowMs(nowMs) ?? this.windowSeconds * 1000;
    const isWithin = shownMs <= this.config.history_seconds * 1000;
    if (this.isReplaying || this.zoom !== null || isWithin || feed.isFilling || feed.store.firstMs === null)
      return null;
    return feed.store.firstMs > nowMs - shownMs + START_TOLERANCE_MS ? feed.store.firstMs : null;
  }

  /** @returns {number | null} the start of the replayed run, or of the active one */
  get runStartMs() {
    if (this.isReplaying)
      return this.player.run === null
        ? null
        : (this.player.fromMs ?? this.runs.find(this.player.run)?.startedMs ?? null);
    return this.runs.active?.startedMs ?? null;
  }

  #windowMs(nowMs) {
    if (this.window !== "run") return this.window === null ? null : this.window * 1000;
    return this.runStartMs === null ? null : Math.max(nowMs - this.runStartMs, SHORTEST_WINDOW_MS);
  }

  // ---- actions ----

  togglePause() {
    if (this.isReplaying) {
      if (this.player.state === "playing") this.player.pause();
      else if (this.#isAtEnd) this.#playFromStart();
      else this.player.play();
      return;
    }
    this.#pausedAtMs = this.#pausedAtMs === null ? this.connection.clock.now() : null;
    this.behind = 0;
    this.#publishChange();
  }

  toLive() {
    if (!this.config.is_live) return;
    const wasReplaying = this.isReplaying;
    const shownBeforeMs = this.#shownMs(null);
    this.#pausedAtMs = this.zoom = this.#unzoomedAtMs = null;
    this.behind = 0;
    if (this.window === "run" && this.runs.active === null) this.window = null;
    if (wasReplaying) this.player.live();
    else this.#refill(shownBeforeMs);
    this.#publishChange();
  }

  /** Show a whole run, paused at its end. @param {string} id */
  showRun(id) {
    const run = this.runs.find(id);
    this.#prepareReplay();
    this.window = "run";
    const endMs = run?.endedMs ?? this.connection.clock.now();
    this.player.open({ run: id, atMs: endMs, speed: this.player.speed, isPaused: true });
  }

  /** Replay the history from its beginning. */
  replayRecent() {
    this.#prepareReplay();
    this.window = null;
    const atMs = this.connection.clock.now() - this.config.history_seconds * 1000;
    this.player.open({ run: null, atMs, speed: this.player.speed, isPaused: false });
  }

  /** @param {number} atMs */
  seek(atMs) {
    if (!this.isReplaying) return;
    this.zoom = this.#unzoomedAtMs = null;
    this.player.seek(atMs);
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.player.setSpeed(speed);
    this.#publishChange();
  }

  /** @param {number | "run" | null} window */
  setWindow(window) {
    const shownBeforeMs = this.#shownMs(this.isReplaying ? this.nowMs : null);
    this.window = window;
    this.zoom = this.#unzoomedAtMs = null;
    if (this.isReplaying && this.#shownMs(this.nowMs) > shownBeforeMs) this.player.seek(this.nowMs);
    else if (!this.isReplaying) this.#refill(shownBeforeMs);
    this.#publishChange();
  }

  /** @param {{fromMs: number, toMs: number} | null} zoom */
  setZoom(zoom) {
    this.zoom = zoom;
    if (this.isReplaying && this.isPaused) this.#requestDetail();
    this.#publishChange();
  }

  /** Request a zoomed stretch of a long replay in its own detail, with the replay at its end; or the whole again. */
  #requestDetail() {
    const { player, zoom } = this;
    if (zoom !== null) {
      const isCoarse = this.#requestedMs > MAX_BACKFILL_POINTS * 1000;
      if (!isCoarse || zoom.toMs - zoom.fromMs > this.#requestedMs / 2) return;
      this.#unzoomedAtMs ??= this.nowMs;
      player.seek(zoom.toMs);
    } else if (this.#unzoomedAtMs !== null) {
      player.seek(this.#unzoomedAtMs);
      this.#unzoomedAtMs = null;
    }
  }

  /** Count metrics that come while the page is paused. @param {number} count */
  count(count) {
    if (!this.isReplaying && this.#pausedAtMs !== null) this.behind += count;
  }

  get #isAtEnd() {
    return (
      this.player.state === "ended" ||
      (this.player.untilMs !== null && this.nowMs >= this.player.untilMs - END_TOLERANCE_MS)
    );
  }

  #playFromStart() {
    const { run, fromMs, speed } = this.player;
    this.player.open({ run, atMs: fromMs, speed, isPaused: false });
  }

  #prepareReplay() {
    this.#pausedAtMs = this.zoom = this.#unzoomedAtMs = null;
    this.behind = 0;
    this.connection.backfill = null;
  }

  // ---- the past ----

  /** Return how far back the page shows data, in milliseconds. */
  #shownMs(atMs) {
    const nowMs = atMs ?? this.connection.clock.now();
    const zoomMs = this.zoom === null ? 0 : nowMs - this.zoom.fromMs;
    return Math.max(this.#windowMs(nowMs) ?? this.windowSeconds * 1000, zoomMs);
  }

  #backfillRequest(atMs) {
    const shownMs = this.#detailMs(atMs) ?? this.#shownMs(atMs);
    const seconds = Math.min(Math.max(Math.ceil(shownMs / 1000) + 1, 1), LONGEST_BACKFILL_SECONDS);
    // The server keeps no more, and for a shorter request its buckets are narrower.
    const kept =
      this.isReplaying && this.player.run !== null ? seconds : Math.min(seconds, this.config.history_seconds || 1);
    this.#requestedMs = kept * 1000;
    // Two more points than seconds, as the first and last bucket are cut: so buckets are one second where possible.
    const most = kept > LONG_BACKFILL_SECONDS ? LONG_BACKFILL_POINTS : MAX_BACKFILL_POINTS;
    return { backfill_seconds: kept, max_points: Math.min(kept + 2, most) };
  }

  /** Return how far back a zoomed stretch reaches from its end, if the replay stands there for its detail. */
  #detailMs(atMs) {
    const isThere = this.#unzoomedAtMs !== null && this.zoom !== null && atMs !== null;
    return isThere ? atMs - this.zoom.fromMs : null;
  }

  #expectBackfill({ isAfresh }) {
    const atMs = this.isReplaying ? this.nowMs : null;
    const windowMs = Math.max(this.#shownMs(atMs), this.config.history_seconds * 1000);
    this.feed.expect(this.config.metric_types, { windowMs, isAfresh });
    clearTimeout(this.#fillTimer);
    this.#fillTimer = setTimeout(() => this.feed.settle(), FILL_TIMEOUT_MS);
  }

  /** Request the missing past if the page shows more than `shownBeforeMs`, which is how far back it did before. */
  #refill(shownBeforeMs) {
    this.connection.backfill = this.#backfillRequest(null);
    if (this.#shownMs(null) <= shownBeforeMs) return;
    this.connection.refill();
    this.#expectBackfill({ isAfresh: false });
  }

  #handleReady(isResuming) {
    // A resumed connection gets all metrics since its position, but the server has forgotten its request for the past.
    const wasBackfillPending = this.feed.isBackfillPending;
    // The connection starts live, and stays so if the replay is refused: the store must not hold metrics of the replay.
    if (this.isReplaying) this.feed.forget();
    const isEndGuessed = this.#isEndGuessed && this.player.run === this.#openedLink.run;
    this.#isEndGuessed = false;
    if (isEndGuessed) this.showRun(this.#openedLink.run);
    else this.player.reconnect();
    if (this.isReplaying) return;
    if (isResuming && wasBackfillPending) this.connection.refill();
    if (!isResuming || wasBackfillPending) this.#expectBackfill({ isAfresh: false });
  }

  #handleReplay({ isJump, problem }) {
    if (problem !== null) {
      this.notices.show(
        "replay",
        "error",
        `${describeProblem(problem)}${this.config.is_live ? " The page is live." : ""}`,
      );
    }
    if (!this.isReplaying) {
      if (this.window === "run" && this.runs.active === null) this.window = null;
      this.connection.backfill = this.#backfillRequest(null);
    }
    if (isJump) {
      const isRefused = problem !== null && !this.player.isSeeking;
      if (isRefused) this.feed.abandon();
      this.#expectBackfill({ isAfresh: !isRefused });
      // The server does not send the past by itself.
      if (!this.isReplaying && !this.player.isSeeking) this.connection.refill();
    }
    this.#publishChange();
  }

  #publishChange() {
    const { player } = this;
    // At the live interval, a frame of the fastest replay would hold a minute.
    const isFast = player.state === "playing" && player.speed > 1 && this.connection.intervalSeconds !== null;
    this.connection.hasten(isFast ? this.connection.intervalSeconds / player.speed : null);
    // Browsers refuse more than about a hundred changes of the address in half a minute.
    this.#linkTimer ??= setTimeout(() => this.#updateAddress(), ADDRESS_DELAY_MS);
    this.changed();
  }

  #updateAddress() {
    this.#linkTimer = null;
    const atMs = this.isReplaying ? this.nowMs : this.#pausedAtMs;
    const { run, speed } = this.player;
    const place = { run, atMs: atMs === null ? null : Math.round(atMs), speed, isPaused: this.isPaused };
    const address = writeTimeLink(location.href, { ...place, window: this.window, zoom: this.zoom });
    if (address !== location.href) history.replaceState(null, "", address);
  }
}

function describeProblem({ code, message }) {
  const why = code === "unknown_run" ? "This test run no longer exists" : `This cannot be replayed: ${message ?? code}`;
  return `${why}.`;
}
