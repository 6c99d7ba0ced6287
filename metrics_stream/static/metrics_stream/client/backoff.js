// How long to wait before the next attempt to connect.

/** The first wait is about half a second, so that the page finds a restarted server before its viewer reloads it. */
const FIRST_WAIT_MS = 500;

/** No wait is longer than this: a wall screen must not stay dark for minutes after the server is back. */
const LONGEST_WAIT_MS = 15_000;

/**
 * Return the wait before attempt number `tries` in milliseconds.
 *
 * The wait doubles with each try up to the longest one. Half of it is random, so that the thousand pages of a restarted
 * server do not connect at the same instant.
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
