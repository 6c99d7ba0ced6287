// What the code of a closed socket means: whether to come back, and the words for it. Room: client; pure.

/** Words for the codes this server uses and the standard ones a browser reports. */
const WORDS = new Map([
  [1000, "the server closed the connection"],
  [1001, "the server is going away"],
  [1005, "the server closed the connection"],
  [1006, "the server cannot be reached"],
  [1009, "a message was too big"],
  [1011, "the server had an error"],
  [1012, "the server is restarting"],
  [1013, "the server is busy"],
  [1015, "no secure connection is possible"],
  [4001, "the server is going away"],
  [4005, "the sign-in has expired"],
  [4008, "this page could not keep up with the metrics"],
  [4013, "the server has no room for more clients"],
  [4029, "too many messages were sent"],
  [4501, "the server did not understand this page"],
  [4502, "nobody is signed in"],
  [4503, "you may not see these metrics"],
  [4509, "a message was too big"],
]);

/** What was shown has expired, or opens something else now: who was let in before may be let in again. */
export const EXPIRED = 4005;

export const NOT_AUTHENTICATED = 4502;

/** Signed out, revoked, or sent away by an admin; the reason says which. */
export const FORBIDDEN = 4503;

const REFUSALS = new Set([EXPIRED, NOT_AUTHENTICATED]);
const REFUSED = new Set(["expired", "not_authenticated", "forbidden"]);

/**
 * Say whether a sign-in, a token or a link is what was missing, or has ended.
 *
 * @param {number} code
 * @returns {boolean}
 */
export function isRefusal(code) {
  return REFUSALS.has(code);
}

/**
 * Say whether an error comes before such a close, or one with FORBIDDEN: its words are the reason of the close.
 *
 * @param {string} code
 * @returns {boolean}
 */
export function isRefusalCode(code) {
  return REFUSED.has(code);
}

/**
 * Say whether a client may connect again by itself after this close code: 4500–4999 mean stay away, all others come back.
 *
 * @param {number} code
 * @returns {boolean}
 */
export function mayReturn(code) {
  return code < 4500 || code > 4999;
}

/**
 * Return why the connection ended, in words for a person.
 *
 * @param {number} code
 * @param {string} [reason] what the server gave as a reason
 * @returns {string}
 */
export function describeClose(code, reason = "") {
  return WORDS.get(code) ?? (reason || `the connection was closed with code ${code}`);
}
