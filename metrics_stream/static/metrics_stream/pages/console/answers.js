// The text of a control for an answer of the server: the values in force, and where they differ from the request.

import { humanize } from "../../client/format.js";
import { writeKeyTerms } from "../../client/keys.js";

/** How many terms of a filter are named; the full list is right above. */
const MAX_NAMED = 6;

/** By control the numbers that a server may move into its limits: key, text before and after. */
const NUMBERS = {
  interval: [["interval_seconds", "", " s"]],
  batching: [
    ["batch_size", "size ", ""],
    ["batch_timeout_seconds", "timeout ", " s"],
  ],
};

/**
 * @param {"types" | "filters" | "interval" | "batching"} control
 * @param {object} inForce selection and delivery, as the server reported them
 * @param {object | null} request the message that is answered
 * @param {(slug: string) => string} labelOf
 * @returns {["good" | "warn", string]} level and text
 */
export function describeAnswer(control, inForce, request, labelOf) {
  if (control === "types") return describeTypes(inForce.metric_types, labelOf);
  if (control === "filters") return ["good", `In force: ${describeFilters(inForce.filters ?? {})}`];
  const adjusted = NUMBERS[control].filter(([key]) => request?.[key] !== undefined && request[key] !== inForce[key]);
  if (adjusted.length) {
    const words = adjusted.map(
      ([key, before, behind]) => `${before}${inForce[key]}${behind} (asked for ${request[key]})`,
    );
    return ["warn", `In force: ${words.join(", ")}. The server keeps values within its limits.`];
  }
  const words = NUMBERS[control].map(([key, before, behind]) => `${before}${inForce[key]}${behind}`);
  if (control === "batching") words.push(`mode ${inForce.mode}`);
  return ["good", `In force: ${words.join(", ")}`];
}

function describeTypes(types, labelOf) {
  if (types.length === 0) return ["warn", "In force: no types, so no metrics are sent."];
  return ["good", `In force: ${types.map(labelOf).join(", ")}`];
}

function describeFilters({ keys = {}, ...lists }) {
  const parts = Object.entries({ ...lists, rows: writeKeyTerms(keys) })
    .filter(([, terms]) => terms.length)
    .map(([key, terms]) => {
      const more = terms.length > MAX_NAMED ? ` and ${terms.length - MAX_NAMED} more` : "";
      return `${humanize(key).toLowerCase()} ${terms.slice(0, MAX_NAMED).join(", ")}${more}`;
    });
  return parts.join("; ") || "no filters";
}
