// Colours of the page as a canvas can use them: the variables of css/tokens.css, resolved for the theme in force.
// Room: charts.

/** Colours of series; the tokens are --series-1 to --series-8. */
export const SERIES_COLOURS = 8;

/**
 * Return what CSS makes of a colour variable right now.
 *
 * @param {Element} host an element in the page, from which the variable is inherited
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
 * Return the variable of the series number `index`, from 0.
 *
 * @param {number} index
 * @returns {string}
 */
export function seriesVariable(index) {
  return `--series-${(index % SERIES_COLOURS) + 1}`;
}
