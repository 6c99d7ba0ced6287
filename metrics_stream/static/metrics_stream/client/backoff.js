// How long to wait before the next attempt to connect. Room: client; pure.

/** The first wait is about half a second, so that a restarted server is found before anyone reaches for reload. */
export const FIRST_WAIT_MS = 500;

/** No wait is longer than this; more would leave a wall screen dark for minutes after the server is back. */
export const LONGEST_WAIT_MS = 15_000;

/**
 * Return the wait before attempt number `tries` in milliseconds.
 *
 * The wait doubles with each try up to the longest one; half of it is random, so that the thousand pages of a server
 * that went away do not come back in one instant.
 *
 * @param {number} tries attempts that have failed since the last good connection; 1 is the first
 * @param {() => number} [random] a number from 0 up to 1
 * @returns {number} milliseconds
 */
export function waitMilliseconds(tries, random = Math.random) {
  const exponent = Math.min(Math.max(tries, 1) - 1, 20);
  const full = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** exponent);
  return Math.round(full / 2 + (full / 2) * random());
}
