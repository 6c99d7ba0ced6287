// The preset in the address of a socket.

function parseUrl(text) {
  try {
    return new URL(text.trim());
  } catch {
    return null;
  }
}

/** @param {string} text an address, maybe typed in part @returns {string} the slug of its preset, or an empty string */
export function presetOf(text) {
  return parseUrl(text)?.searchParams.get("preset") ?? "";
}

/** @param {string} text @param {string} slug empty: remove the preset @returns {string} */
export function withPreset(text, slug) {
  const url = parseUrl(text);
  if (url === null) return text.trim();
  if (slug) url.searchParams.set("preset", slug);
  else url.searchParams.delete("preset");
  return url.href;
}
