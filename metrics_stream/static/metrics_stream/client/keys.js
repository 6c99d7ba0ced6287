// The keys of rows. A metric type with a key has a list of rows as its data; the parts of the key tell them apart: name and
// method of a request, the id of an agent. core/metrics/keys.py has the same rules.

/** The key of lists that come without one: they are lists of agents. */
export const AGENT_KEY = ["agent_id"];

/** The first part of the row into which a server folds the rows beyond its limit. */
export const OTHER = "(other)";

/** Between the parts of a row's text; no part contains it. */
const SEPARATOR = "\u001f";

/**
 * Return the text that identifies a row within its metric type and source.
 *
 * @param {Record<string, unknown>} entry the row, or its key alone
 * @param {string[]} key the names of the parts, in order
 * @returns {string} "name=/users␟method=GET"; without the parts that the row does not have
 */
export function rowOf(entry, key) {
  let text = "";
  for (const part of key) {
    const value = textOf(entry[part]);
    if (value === "") continue;
    text = text === "" ? `${part}=${value}` : `${text}${SEPARATOR}${part}=${value}`;
  }
  return text;
}

/**
 * Return the row that an item of a `series` or `backfill` message is of.
 *
 * @param {{agent_id?: string | null, key?: Record<string, string>}} item
 * @returns {string | null} null if it is of a source as a whole
 */
export function rowOfItem({ agent_id: agentId = null, key = null }) {
  if (key !== null) return rowOf(key, Object.keys(key));
  return agentId === null ? null : rowOf({ agent_id: agentId }, AGENT_KEY);
}

/** @param {string} row @returns {Record<string, string>} the values of the parts, by name */
export function partsOf(row) {
  if (row === "") return {};
  const pairs = row.split(SEPARATOR).map((pair) => {
    const place = pair.indexOf("=");
    return [pair.slice(0, place), pair.slice(place + 1)];
  });
  return Object.fromEntries(pairs);
}

/**
 * Return a row as a person writes it.
 *
 * @param {string} row
 * @returns {string} "GET /users" for a request; the values of the parts for others
 */
export function labelOfRow(row) {
  const { head, rest } = namesOf(partsOf(row));
  return [head, ...Object.values(rest)].filter(Boolean).join(" · ");
}

/**
 * Return the name of a row, and the parts that are not in it.
 *
 * @param {Record<string, string>} parts
 * @returns {{head: string, rest: Record<string, string>}}
 */
export function namesOf(parts) {
  const { name, method, ...others } = parts;
  if (name !== undefined) return { head: [method, name].filter(Boolean).join(" "), rest: others };
  const [[, head] = [null, ""], ...rest] = Object.entries(parts);
  return { head, rest: Object.fromEntries(rest) };
}

/** @param {string} row @returns {boolean} whether a server has folded other rows into it */
export function isOther(row) {
  const start = row.indexOf("=") + 1;
  return start > 0 && row.startsWith(OTHER, start) && [undefined, SEPARATOR].includes(row[start + OTHER.length]);
}

/** @param {string} row @param {string} part @returns {boolean} whether the row has this part of the key */
export function hasPart(row, part) {
  return row.startsWith(`${part}=`) || row.includes(`${SEPARATOR}${part}=`);
}

/** @param {string[]} key @returns {boolean} whether rows of several sources are different things, as agents are */
export function isOfOneSource(key) {
  return key.includes("agent_id");
}

/**
 * Return a test for rows.
 *
 * Several patterns of a part are alternatives; several parts must all match. A row without a part has an empty text there.
 *
 * @param {Record<string, string[]>} patterns by part; `*` stands for any text
 * @returns {(row: string) => boolean}
 */
export function matcherOf(patterns) {
  const tests = Object.entries(patterns).map(([part, texts]) => [part, new RegExp(`^(?:${texts.map(toRegExp).join("|")})$`, "s")]);
  if (tests.length === 0) return () => true;
  return (row) => {
    const parts = partsOf(row);
    return tests.every(([part, test]) => test.test(parts[part] ?? ""));
  };
}

/**
 * Read filters on the parts of keys, as people write them.
 *
 * @param {string[]} terms such as "name=/api/*"
 * @returns {Record<string, string[]>} patterns by part; terms without a part are left out
 */
export function readKeyTerms(terms) {
  const patterns = {};
  for (const term of terms) {
    const place = term.indexOf("=");
    if (place <= 0) continue;
    (patterns[term.slice(0, place).trim()] ??= []).push(term.slice(place + 1).trim());
  }
  return patterns;
}

/** @param {Record<string, string[]>} patterns @returns {string[]} as readKeyTerms takes them */
export function writeKeyTerms(patterns) {
  return Object.entries(patterns).flatMap(([part, texts]) => texts.map((text) => `${part}=${text}`));
}

function textOf(value) {
  if (typeof value === "number") return String(value);
  if (typeof value !== "string") return "";
  return value.includes(SEPARATOR) ? value.replaceAll(SEPARATOR, "\ufffd") : value;
}

function toRegExp(pattern) {
  return pattern.split("*").map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join(".*");
}
