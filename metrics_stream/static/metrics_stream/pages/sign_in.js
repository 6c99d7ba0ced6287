// Where to sign in and come back from. Room: pages.

/**
 * @param {string} path where to sign in, on this server
 * @param {{pathname: string, search: string}} location of the page to come back to
 * @returns {string}
 */
export function signInAddress(path, { pathname, search }) {
  return `${path}${path.includes("?") ? "&" : "?"}next=${encodeURIComponent(`${pathname}${search}`)}`;
}
