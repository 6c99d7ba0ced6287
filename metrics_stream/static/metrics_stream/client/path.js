// Names of fields in the data of a metric: a key, or a path of keys that are joined with dots.
//
// A key may contain dots itself. One rule tells it from a path: the longest key that fits wins, so the exact key wins over
// every path. core/metrics/paths.py has the same rule.

/**
 * Return the value that a path names, or undefined.
 *
 * @param {unknown} data
 * @param {string} path "cost_efficiency.cost_per_transaction", or a key such as "http.response_time.p95"
 */
export function lookUp(data, path) {
  if (!isObject(data)) return undefined;
  if (Object.hasOwn(data, path)) return data[path];
  for (let dot = path.lastIndexOf("."); dot >= 0; dot = dot > 0 ? path.lastIndexOf(".", dot - 1) : -1) {
    const head = path.slice(0, dot);
    if (!Object.hasOwn(data, head)) continue;
    const found = lookUp(data[head], path.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
