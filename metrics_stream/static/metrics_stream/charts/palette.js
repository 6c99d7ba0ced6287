// The colours of css/tokens.css for a canvas, resolved for the current theme.

/** The number of colours for series; the tokens are --series-1 to --series-8. */
export const SERIES_COLOURS = 8;

/**
 * Return the current values of colour variables.
 *
 * @param {Element} host an element of the page, from which the variables are inherited
 * @param {...string} names such as "--ink"
 * @returns {string[]} as rgb(…) texts
 */
export function resolveColours(host, ...names) {
  const probe = document.createElement("span");
  probe.hidden = true;
  host.append(probe);
  const colours = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return colours;
}

/**
 * Return the same colour, more transparent.
 *
 * @param {string} colour as rgb(…)
 * @param {number} alpha 0–1
 * @returns {string}
 */
export function fade(colour, alpha) {
  return colour.replace(/^rgb\(([^)]*)\)$/, `rgba($1, ${alpha})`);
}

/**
 * Return the colour variable of a series.
 *
 * @param {number} index from 0
 * @returns {string}
 */
export function seriesVariable(index) {
  return `--series-${(index % SERIES_COLOURS) + 1}`;
}
