// The local time of day as text, and the day.

const toMinutes = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** Hours, minutes and seconds. */
export const clock = new Intl.DateTimeFormat(undefined, { ...toMinutes, second: "2-digit" });

/** Hours and minutes. Not cut from the longer text: in some languages that contains words. */
export const minuteClock = new Intl.DateTimeFormat(undefined, toMinutes);

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** @param {number} milliseconds @returns {string} the local day, with the year unless it is this one */
export function formatDay(milliseconds) {
  const isThisYear = new Date(milliseconds).getFullYear() === new Date().getFullYear();
  return (isThisYear ? day : dayOfYear).format(milliseconds);
}

/**
 * @param {number} milliseconds
 * @param {Intl.DateTimeFormat} [how] the format of the time of day
 * @returns {string} the local time, with the day unless it is today
 */
export function formatInstant(milliseconds, how = clock) {
  const text = how.format(milliseconds);
  return isSameDay(milliseconds, Date.now()) ? text : `${formatDay(milliseconds)}, ${text}`;
}

/** @param {number} one in milliseconds @param {number} other @returns {boolean} whether they are on one local day */
export function isSameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}
