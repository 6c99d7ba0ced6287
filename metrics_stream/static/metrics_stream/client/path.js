// Dotted paths into the data of a metric.

/**
 * Return the value at a dotted path, or undefined.
 *
 * @param {unknown} data
 * @param {string} path "cost_efficiency.cost_per_transaction"
 */
export function lookUp(data, path) {
  let value = data;
  for (const key of path.split(".")) {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}
