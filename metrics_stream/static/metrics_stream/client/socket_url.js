// The address of a socket on the server that a page came from.

/**
 * @param {string} path starts with a slash
 * @param {{protocol: string, host: string}} location
 * @param {Record<string, string | null>} [query] entries that are null are left out
 * @returns {string}
 */
export function socketUrl(path, location, query = {}) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null));
  const text = parameters.toString();
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}${text ? `?${text}` : ""}`;
}
