// Draw lines and areas on a canvas, from the traces of a line geometry. Coordinates are pixels of the canvas.
//
// A line whose points are denser than pixels is drawn as the band that it covers; a stroke along its zigzag looks the
// same at ten times the cost.

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
 * Fill the area between a line and the line below it, or the floor.
 *
 * @param {CanvasRenderingContext2D} ctx
 * @param {Trace} trace
 * @param {Place} place
 * @param {{colour: string, floor: number, below: Trace | null}} ground `floor`: a value; `below`: the line underneath
 */
export function fillArea(ctx, trace, { xs, y }, { colour, floor, below }) {
  ctx.fillStyle = colour;
  for (const run of runsOf(trace)) {
    ctx.beginPath();
    for (const row of run) ctx.lineTo(xs[row], y(trace.highs[row]));
    for (const row of run.reverse()) ctx.lineTo(xs[row], y(below?.highs[row] ?? floor));
    ctx.fill();
  }
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

function strokeRun(ctx, { values, lows, highs }, run, { xs, y }, most) {
  ctx.beginPath();
  let count = 0;
  run.forEach((row, place) => {
    const value = values[row];
    ctx.lineTo(xs[row], y(value));
    const [before, after] = [values[run[place - 1]] ?? value, values[run[place + 1]] ?? value];
    // The line covers what lies between a point and its neighbours; only what exceeds that needs its own stroke.
    if (lows[row] < Math.min(before, value, after) || highs[row] > Math.max(before, value, after)) {
      ctx.lineTo(xs[row], y(lows[row]));
      ctx.lineTo(xs[row], y(highs[row]));
      ctx.lineTo(xs[row], y(value));
    }
    count += 1;
    if (count < most) return;
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(xs[row], y(value));
    count = 0;
  });
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
