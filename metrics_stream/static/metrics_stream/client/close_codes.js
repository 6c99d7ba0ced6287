// The close codes of a socket: whether a client may reconnect, and the text for a person.

/** Texts for the codes that this server uses, and for the standard codes that a browser reports. */
const TEXTS = new Map([
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
  [4502, "you are not signed in"],
  [4503, "you may not see these metrics"],
  [4509, "a message was too big"],
]);

/** The sign-in has expired, or its permissions have changed: a client that was accepted may be accepted again. */
export const EXPIRED = 4005;

export const NOT_AUTHENTICATED = 4502;

/** Signed out, revoked, or disconnected by an admin; the reason says which. */
export const FORBIDDEN = 4503;

const REFUSALS = new Set([EXPIRED, NOT_AUTHENTICATED]);
const REFUSED = new Set(["expired", "not_authenticated", "forbidden"]);

/**
 * Return whether the code means that a sign-in, a token or a link is missing or has ended.
 *
 * @param {number} code
 * @returns {boolean}
 */
export function isRefusal(code) {
  return REFUSALS.has(code);
}

/**
 * Return whether an error announces such a close, or one with FORBIDDEN: its message is the reason of the close.
 *
 * @param {string} code
 * @returns {boolean}
 */
export function isRefusalCode(code) {
  return REFUSED.has(code);
}

/**
 * Return whether a client may reconnect by itself after this close code: not after 4500–4999, but after all others.
 *
 * @param {number} code
 * @returns {boolean}
 */
export function mayReturn(code) {
  return code < 4500 || code > 4999;
}

/**
 * Return why the connection ended, as a text for a person.
 *
 * @param {number} code
 * @param {string} [reason] as the server gave it
 * @returns {string}
 */
export function describeClose(code, reason = "") {
  return TEXTS.get(code) ?? (reason || `the connection was closed with code ${code}`);
}
