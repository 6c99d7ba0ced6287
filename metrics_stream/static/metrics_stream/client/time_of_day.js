// The local time of day as text.

const toMinutes = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** Hours, minutes and seconds. */
export const clock = new Intl.DateTimeFormat(undefined, { ...toMinutes, second: "2-digit" });

/** Hours and minutes. Not cut from the longer text: in some languages that contains words. */
export const minuteClock = new Intl.DateTimeFormat(undefined, toMinutes);
