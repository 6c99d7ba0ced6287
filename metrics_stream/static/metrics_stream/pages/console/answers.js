// What a control says about the answer of the server: what is in force, and where that differs from what was asked.
// Room: pages/console; pure.

import { humanize } from "../../client/format.js";

/** Terms of a filter that are named; the list itself stands right above. */
const MOST_NAMED = 6;

/** Per control the numbers that a server may move into its limits: key, words before and behind. */
const NUMBERS = {
  interval: [["interval_seconds", "", " s"]],
  batching: [
    ["batch_size", "size ", ""],
    ["batch_timeout_seconds", "timeout ", " s"],
  ],
};

/**
 * @param {"types" | "filters" | "interval" | "batching"} control
 * @param {object} inForce selection and delivery that the server said are in force
 * @param {object | null} asked the message that this answers
 * @param {(slug: string) => string} labelOf
 * @returns {["good" | "warn", string]} level and words
 */
export function answerWords(control, inForce, asked, labelOf) {
  if (control === "types") return typeWords(inForce.metric_types, labelOf);
  if (control === "filters") return ["good", `In force: ${filterWords(inForce.filters ?? {})}`];
  const moved = NUMBERS[control].filter(([key]) => asked?.[key] !== undefined && asked[key] !== inForce[key]);
  if (moved.length) {
    const words = moved.map(([key, before, behind]) => `${before}${inForce[key]}${behind} (asked for ${asked[key]})`);
    return ["warn", `In force: ${words.join(", ")}. The server keeps values within its limits.`];
  }
  const words = NUMBERS[control].map(([key, before, behind]) => `${before}${inForce[key]}${behind}`);
  if (control === "batching") words.push(`mode ${inForce.mode}`);
  return ["good", `In force: ${words.join(", ")}`];
}

function typeWords(types, labelOf) {
  if (types.length === 0) return ["warn", "In force: no types, so no metrics come."];
  return ["good", `In force: ${types.map(labelOf).join(", ")}`];
}

function filterWords(filters) {
  const parts = Object.entries(filters)
    .filter(([, terms]) => terms.length)
    .map(([key, terms]) => {
      const more = terms.length > MOST_NAMED ? ` and ${terms.length - MOST_NAMED} more` : "";
      return `${humanize(key).toLowerCase()} ${terms.slice(0, MOST_NAMED).join(", ")}${more}`;
    });
  return parts.join("; ") || "no filters";
}
