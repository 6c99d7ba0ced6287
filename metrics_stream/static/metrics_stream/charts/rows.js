// Search the rows of a plot, where a value is undefined if only other lines have a point, and null in a gap.

/** Return the rows of points without a neighbour, which a line alone does not show, for uPlot. @returns {number[]} */
export function isolatedPoints(plot, seriesIndex) {
  const column = plot.data[seriesIndex];
  const isolated = [];
  let before = null;
  let candidate = null;
  for (let row = 0; row < column.length; row += 1) {
    const value = column[row];
    if (value === undefined) continue;
    if (value === null) {
      if (candidate !== null) isolated.push(candidate);
      candidate = before = null;
    } else {
      candidate = before === null ? row : null;
      before = row;
    }
  }
  if (candidate !== null) isolated.push(candidate);
  return isolated;
}

/**
 * Return the row nearest to the cursor in which a line has a value.
 *
 * @param {number[]} times
 * @param {Column} column
 * @param {number} hovered the row under the cursor
 * @returns {number | null} null inside a gap
 */
export function nearestDefined(times, column, hovered) {
  if (column[hovered] !== undefined) return column[hovered] === null ? null : hovered;
  let left = hovered;
  let right = hovered;
  while (left >= 0 && column[left] === undefined) left -= 1;
  while (right < column.length && column[right] === undefined) right += 1;
  if (column[left] === null || column[right] === null || left < 0 || right >= column.length) {
    return column[left] === null || left < 0 ? null : left;
  }
  return times[hovered] - times[left] <= times[right] - times[hovered] ? left : right;
}
