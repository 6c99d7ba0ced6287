// The slider for a time in seconds: its steps are equal ratios, so that short times can be set as exactly as long ones.

const SLIDER_STEPS = 100;

/** @returns {number} seconds with two significant digits, on a logarithmic scale */
export function secondsAt(place, [low, high]) {
  return Number((low * (high / low) ** (place / SLIDER_STEPS)).toPrecision(2));
}

/** @returns {number} the step that is nearest to a time within bounds */
export function placeOf(seconds, [low, high]) {
  const inside = Math.min(high, Math.max(low, seconds));
  return Math.round((Math.log(inside / low) / Math.log(high / low)) * SLIDER_STEPS);
}
