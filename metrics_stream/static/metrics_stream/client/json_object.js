// Reading JSON text that has to hold an object, as every message of the protocol does.

/** @param {string} text @returns {object | null} null for text that is not JSON, and for JSON of another kind */
export function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
