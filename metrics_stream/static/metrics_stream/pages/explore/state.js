// The state of the page in its address: what is searched for, how lines are sorted, and which line is charted.

/** What lines can be sorted by. */
export const COLUMNS = ["field", "row", "source", "type", "value", "age", "rate"];

/**
 * @typedef {{metricType: string, source: string, key: Record<string, string> | null, path: string}} Chosen
 * @typedef {{query: string, sort: string, isDescending: boolean, chosen: Chosen | null}} State
 */

/** @param {string} search the query of the address @returns {State} */
export function readState(search) {
  const parameters = new URLSearchParams(search);
  const sort = parameters.get("sort") ?? "";
  const isDescending = sort.startsWith("-");
  const column = isDescending ? sort.slice(1) : sort;
  return {
    query: parameters.get("q") ?? "",
    sort: COLUMNS.includes(column) ? column : "type",
    isDescending: isDescending && COLUMNS.includes(column),
    chosen: readChosen(parameters),
  };
}

function readChosen(parameters) {
  const [metricType, path] = [parameters.get("type"), parameters.get("field")];
  if (!metricType || !path) return null;
  const parts = [...parameters].filter(([name]) => name.startsWith("key."));
  const key = parts.length ? Object.fromEntries(parts.map(([name, value]) => [name.slice(4), value])) : null;
  return { metricType, path, source: parameters.get("source") ?? "", key };
}

/** @param {State} state @returns {string} the query of an address, with its question mark, or empty */
export function writeState({ query, sort, isDescending, chosen }) {
  const parameters = new URLSearchParams();
  if (query) parameters.set("q", query);
  if (sort !== "type" || isDescending) parameters.set("sort", `${isDescending ? "-" : ""}${sort}`);
  if (chosen !== null) {
    parameters.set("type", chosen.metricType);
    parameters.set("source", chosen.source);
    for (const [part, value] of Object.entries(chosen.key ?? {})) parameters.set(`key.${part}`, value);
    parameters.set("field", chosen.path);
  }
  const text = parameters.toString();
  return text ? `?${text}` : "";
}

/** @param {Chosen | null} one @param {Chosen | null} other @returns {boolean} */
export function isSame(one, other) {
  return JSON.stringify(partsOf(one)) === JSON.stringify(partsOf(other));
}

function partsOf(chosen) {
  if (chosen === null) return null;
  return [chosen.metricType, chosen.source, chosen.path, Object.entries(chosen.key ?? {})];
}
