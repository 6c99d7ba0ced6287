// The address to sign in at, and return from.

/**
 * @param {string} path of the sign-in page
 * @param {{pathname: string, search: string}} location of the page to return to
 * @returns {string}
 */
export function signInAddress(path, { pathname, search }) {
  return `${path}${path.includes("?") ? "&" : "?"}next=${encodeURIComponent(`${pathname}${search}`)}`;
}
