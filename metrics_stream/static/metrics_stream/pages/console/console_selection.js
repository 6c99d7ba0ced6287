// What a person has selected in the console: the messages for it, and the link that holds it.

import { readKeyTerms, writeKeyTerms } from "../../client/keys.js";

/**
 * A part that is null was not changed: the preset or the server's default applies.
 *
 * @typedef {object} ConsoleSelection
 * @property {string[] | null} metricTypes
 * @property {Filters | null} filters
 * @property {number | null} intervalSeconds
 * @property {{batch_size: number, batch_timeout_seconds: number, mode: string} | null} batching
 */

/**
 * @typedef {object} Filters an empty one lets everything through
 * @property {string[]} agent_ids
 * @property {Record<string, string[]>} keys patterns by the part of the key of rows
 * @property {string[]} sources
 * @property {string[]} fields
 */

/** @returns {Filters} */
export function noFilters() {
  return { agent_ids: [], keys: {}, sources: [], fields: [] };
}

/** @returns {ConsoleSelection} */
export function emptySelection() {
  return { metricTypes: null, filters: null, intervalSeconds: null, batching: null };
}

/**
 * Return the messages that change what is in force to what is selected.
 *
 * @param {ConsoleSelection} selection
 * @param {string[]} inForce the subscribed metric types
 * @param {string[]} known the existing metric types
 * @returns {Record<"types" | "filters" | "interval" | "batching", object[]>}
 */
export function messagesFor(selection, inForce, known) {
  const { metricTypes, filters, intervalSeconds: seconds, batching } = selection;
  return {
    types: metricTypes === null ? [] : typeMessages(metricTypes, inForce, known),
    filters: filters === null ? [] : [filtersMessage(filters)],
    interval: seconds === null ? [] : [{ type: "set_update_interval", interval_seconds: seconds }],
    batching: batching === null ? [] : [{ type: "set_batching", ...batching }],
  };
}

/** @returns {object[]} subscribe and unsubscribe messages; `all` stands for every type */
export function typeMessages(wanted, inForce, known) {
  const added = wanted.filter((slug) => !inForce.includes(slug));
  const removed = inForce.filter((slug) => !wanted.includes(slug));
  const messages = [];
  if (removed.length) messages.push({ type: "unsubscribe", metric_types: wanted.length === 0 ? ["all"] : removed });
  if (added.length) {
    const all = known.length > 1 && known.every((slug) => wanted.includes(slug));
    messages.push({ type: "subscribe", metric_types: all ? ["all"] : added });
  }
  return messages;
}

/** @returns {object} a message with the filters that are not empty; `{}` clears the filters */
export function filtersMessage(filters) {
  const used = Object.entries(filters).filter(([, terms]) => Object.keys(terms).length);
  return { type: "set_filters", filters: Object.fromEntries(used) };
}

/** @param {string} text separated by commas or lines @returns {string[]} each once, in order */
export function splitTerms(text) {
  return [
    ...new Set(
      text
        .split(/[,\n]/)
        .map((term) => term.trim())
        .filter(Boolean),
    ),
  ];
}

const MODES = ["all", "latest", "aggregate"];
const LISTS = { agents: "agent_ids", sources: "sources", fields: "fields" };

/**
 * Return the part of a link after the `#`, which never reaches a server's log, and may be long.
 *
 * @param {ConsoleSelection} selection
 * @param {{url: string | null, reconnect: boolean}} connection `url` is null for this server's own socket
 * @returns {string} without the `#`
 */
export function writeLink(selection, { url, reconnect }) {
  const parameters = new URLSearchParams();
  if (url !== null) parameters.set("url", url);
  // A comma separates terms; no term contains one, as the fields split at commas, too.
  if (selection.metricTypes !== null) parameters.set("types", selection.metricTypes.join(","));
  if (selection.filters !== null) {
    for (const [name, key] of Object.entries(LISTS)) {
      if (selection.filters[key].length) parameters.set(name, selection.filters[key].join(","));
    }
    const rows = writeKeyTerms(selection.filters.keys);
    if (rows.length) parameters.set("rows", rows.join(","));
  }
  if (selection.intervalSeconds !== null) parameters.set("interval", String(selection.intervalSeconds));
  if (selection.batching !== null) {
    const { batch_size: size, batch_timeout_seconds: timeout, mode } = selection.batching;
    parameters.set("batch", [size, timeout, mode].join(","));
  }
  if (reconnect) parameters.set("reconnect", "1");
  // Commas and colons are allowed after the #, and far easier to read.
  return parameters.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%2F", "/");
}

/**
 * Read the result of writeLink; invalid parts are ignored, as a link can be typed by hand.
 *
 * @param {string} hash without the `#`
 * @returns {{selection: ConsoleSelection, url: string | null, reconnect: boolean}}
 */
export function readLink(hash) {
  const parameters = new URLSearchParams(hash);
  const selection = emptySelection();
  if (parameters.has("types")) selection.metricTypes = splitTerms(parameters.get("types"));
  if (["rows", ...Object.keys(LISTS)].some((name) => parameters.has(name))) {
    selection.filters = { ...noFilters(), keys: readKeyTerms(splitTerms(parameters.get("rows") ?? "")) };
    for (const [name, key] of Object.entries(LISTS)) selection.filters[key] = splitTerms(parameters.get(name) ?? "");
  }
  selection.intervalSeconds = readNumber(parameters.get("interval"));
  const [size, timeout, mode] = (parameters.get("batch") ?? "").split(",");
  const [batchSize, batchTimeout] = [readNumber(size), readNumber(timeout)];
  if (batchSize !== null && batchTimeout !== null) {
    selection.batching = {
      batch_size: Math.round(batchSize),
      batch_timeout_seconds: batchTimeout,
      mode: MODES.includes(mode) ? mode : "all",
    };
  }
  return { selection, url: parameters.get("url"), reconnect: parameters.get("reconnect") === "1" };
}

/** @param {string | null | undefined} text @returns {number | null} */
export function readNumber(text) {
  const value = text === null || text === undefined || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}
