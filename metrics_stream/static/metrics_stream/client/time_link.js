// The time that a page shows, in its address: a link shows the same to another person.

const SLOWEST = 0.25;
const FASTEST = 60;

/** Windows are not longer than the longest summary that a server makes. */
const LONGEST_WINDOW_SECONDS = 86_400;

/**
 * @typedef {object} TimeLink
 * @property {string | null} run id of the replayed test run
 * @property {number | null} atMs the time in the replay; null: live
 * @property {number} speed
 * @property {boolean} isPaused
 * @property {number | "run" | null} window in seconds, or since the start of the run; null: the setting of each panel
 * @property {{fromMs: number, toMs: number} | null} zoom
 */

/**
 * Return the time in an address; invalid parameters are ignored.
 *
 * @param {URLSearchParams} parameters
 * @returns {TimeLink}
 */
export function readTimeLink(parameters) {
  const instant = (name) => {
    const milliseconds = Date.parse(parameters.get(name) ?? "");
    return Number.isNaN(milliseconds) ? null : milliseconds;
  };
  const [fromMs, toMs] = [instant("from"), instant("to")];
  const speed = Number(parameters.get("speed") ?? NaN);
  const seconds = Number(parameters.get("window") ?? NaN);
  return {
    run: parameters.get("run") || null,
    atMs: instant("at"),
    speed: speed >= SLOWEST && speed <= FASTEST ? speed : 1,
    isPaused: parameters.get("paused") === "1",
    window:
      parameters.get("window") === "run" ? "run" : seconds >= 1 && seconds <= LONGEST_WINDOW_SECONDS ? seconds : null,
    zoom: fromMs !== null && toMs !== null && fromMs < toMs ? { fromMs, toMs } : null,
  };
}

/**
 * Return an address with a time in it; its other parameters stay.
 *
 * @param {string} address
 * @param {TimeLink} link
 * @returns {string}
 */
export function writeTimeLink(address, { run, atMs, speed, isPaused, window, zoom }) {
  const url = new URL(address);
  const set = (name, value) => (value === null ? url.searchParams.delete(name) : url.searchParams.set(name, value));
  const instant = (milliseconds) => new Date(milliseconds).toISOString();
  const isReplay = run !== null || atMs !== null;
  set("run", run);
  set("at", atMs === null ? null : instant(atMs));
  set("speed", isReplay && speed !== 1 ? String(speed) : null);
  set("paused", isReplay && isPaused ? "1" : null);
  set("window", window === null ? null : String(window));
  set("from", zoom && instant(zoom.fromMs));
  set("to", zoom && instant(zoom.toMs));
  // Colons are allowed in a query, and instants are easier to read with them.
  url.search = url.search.replaceAll("%3A", ":");
  return url.href;
}
