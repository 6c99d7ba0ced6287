// The order of names.

const collator = new Intl.Collator("en", { numeric: true });

/**
 * Compare names as people sort them: "agent 2" comes before "agent 10".
 *
 * @param {string} a
 * @param {string} b
 * @returns {number} below zero if `a` comes first
 */
export const compareNames = collator.compare;
