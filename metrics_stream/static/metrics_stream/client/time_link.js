// What the address of a page says about time, so that a link shows the same to somebody else. Room: client; pure.

export const SLOWEST = 0.25;
export const FASTEST = 60;

/** Windows are no longer than what a server sums up at once. */
const LONGEST_WINDOW_SECONDS = 86_400;

/**
 * @typedef {object} TimeLink
 * @property {string | null} run id of the test run that is played again
 * @property {number | null} atMs where the replay stands; null: live
 * @property {number} speed
 * @property {boolean} isPaused
 * @property {number | "run" | null} window in seconds, or since the run's start; null: as each panel says
 * @property {{fromMs: number, toMs: number} | null} zoom
 */

/**
 * Return what an address says; what makes no sense is left out.
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
    window: parameters.get("window") === "run" ? "run" : seconds >= 1 && seconds <= LONGEST_WINDOW_SECONDS ? seconds : null,
    zoom: fromMs !== null && toMs !== null && fromMs < toMs ? { fromMs, toMs } : null,
  };
}

/**
 * Return an address that says it; everything else in it stays.
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
  // Colons may stand in a query as they are, and instants are easier to read with them.
  url.search = url.search.replaceAll("%3A", ":");
  return url.href;
}
