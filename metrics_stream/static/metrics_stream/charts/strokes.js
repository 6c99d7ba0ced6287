// Draw lines and areas on a canvas, from the traces of a line geometry. Coordinates are pixels of the canvas.
//
// A line whose points are denser than pixels is drawn as the band that it covers; a stroke along its zigzag looks the
// same at ten times the cost. Rarer points that stand for several values have their range as a soft band behind the line.

/** Without a graphics card a browser needs far longer for one long stroke than for many short ones. */
const STROKE_POINTS = 8;

/** The length of a dash and of the gap after it, in pixels. */
const DASH = [5, 4];

/**
 * @typedef {object} Place the coordinates of rows and values on the canvas
 * @property {number[]} xs one per row
 * @property {(value: number) => number} y
 */

/**
 * Draw one line.
 *
 * @param {CanvasRenderingContext2D} ctx
 * @param {Trace} trace
 * @param {Place} place
 * @param {{colour: string, width: number, dashed: boolean, firstColumn: number}} style
 */
export function drawLine(ctx, trace, place, { colour, width, dashed, firstColumn }) {
  ctx.strokeStyle = ctx.fillStyle = colour;
  ctx.lineWidth = width;
  ctx.lineJoin = "round";
  ctx.lineCap = dashed ? "butt" : "round";
  ctx.setLineDash(dashed ? DASH : []);
  if (trace.dense) {
    // A band includes its first and its last column: it takes one column more than its length.
    const isGap = (row) => dashed && (firstColumn + row) % (DASH[0] + DASH[1]) > DASH[0];
    for (const run of runsOf(trace, isGap)) fillBand(ctx, trace, run, place, width / 2);
  } else {
    // Each of several short strokes would restart the dashes.
    for (const run of runsOf(trace)) strokeRun(ctx, trace, run, place, dashed ? Infinity : STROKE_POINTS);
  }
}

/**
 * Fill the ranges of points that stand for several values, where they can be told from the line.
 *
 * @param {CanvasRenderingContext2D} ctx
 * @param {Trace} trace
 * @param {Place} place
 * @param {{colour: string, least: number}} style `least`: a lower range, in pixels, is part of the line
 */
export function fillRanges(ctx, trace, { xs, y }, { colour, least }) {
  const { values, lows, highs, dense } = trace;
  if (dense || lows === values) return;
  ctx.fillStyle = colour;
  const isVisible = (row) => y(lows[row]) - y(highs[row]) > least;
  for (const run of runsOf(trace)) {
    // A range ends at its neighbours' values; a lone point has no width.
    for (let first = 0; first < run.length; first += 1) {
      if (!isVisible(run[first])) continue;
      let last = first;
      while (last + 1 < run.length && isVisible(run[last + 1])) last += 1;
      const rows = run.slice(Math.max(0, first - 1), last + 2);
      const edge = (row, bounds) => y(isVisible(row) ? bounds[row] : values[row]);
      ctx.beginPath();
      for (const row of rows) ctx.lineTo(xs[row], edge(row, highs));
      for (const row of rows.reverse()) ctx.lineTo(xs[row], edge(row, lows));
      ctx.fill();
      first = last;
    }
  }
}

/**
 * Fill the area between a line and the line below it, or the floor.
 *
 * @param {CanvasRenderingContext2D} ctx
 * @param {Trace} trace
 * @param {Place} place
 * @param {{colour: string, floor: number, below: Trace | null}} ground `floor`: a value; `below`: the line underneath
 */
export function fillArea(ctx, trace, { xs, y }, { colour, floor, below }) {
  ctx.fillStyle = colour;
  const top = topOf(trace);
  const ground = below ? topOf(below) : null;
  for (const run of runsOf(trace)) {
    ctx.beginPath();
    for (const row of run) ctx.lineTo(xs[row], y(top[row]));
    for (const row of run.reverse()) ctx.lineTo(xs[row], y(ground?.[row] ?? floor));
    ctx.fill();
  }
}

/** Return the values at which the drawn line ends above: a band has a height, a stroke has not. */
function topOf({ dense, values, highs }) {
  return dense ? highs : values;
}

/** Return the runs of rows of a trace without a break: at a null, and at rows where `isGap` is true. */
function runsOf({ values }, isGap = () => false) {
  const runs = [];
  let run = null;
  for (let row = 0; row < values.length; row += 1) {
    if (values[row] === undefined) continue;
    if (values[row] === null || isGap(row)) {
      run = null;
    } else {
      if (run === null) runs.push((run = []));
      run.push(row);
    }
  }
  return runs;
}

function strokeRun(ctx, { values }, run, { xs, y }, most) {
  ctx.beginPath();
  let count = 0;
  for (const row of run) {
    ctx.lineTo(xs[row], y(values[row]));
    count += 1;
    if (count < most) continue;
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(xs[row], y(values[row]));
    count = 0;
  }
  ctx.stroke();
}

function fillBand(ctx, { values, lows, highs }, run, { xs, y }, halfWidth) {
  // Each column reaches to the end of the one before, or a steep line would fall apart.
  const before = (place) => values[run[Math.max(0, place - 1)]];
  ctx.beginPath();
  run.forEach((row, place) => ctx.lineTo(xs[row], y(Math.max(highs[row], before(place))) - halfWidth));
  for (let place = run.length - 1; place >= 0; place -= 1) {
    const row = run[place];
    ctx.lineTo(xs[row], y(Math.min(lows[row], before(place))) + halfWidth);
  }
  ctx.fill();
}
