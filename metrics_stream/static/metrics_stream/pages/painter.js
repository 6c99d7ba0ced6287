// When the panels of a page are painted: about every 50 ms while it is seen, a few canvases at a time, but all of them
// the first time. Room: pages.

/** The page is painted at most about every so often; each time costs the browser, however little has changed. */
const PAINT_INTERVAL_MS = 50;

/** Canvases drawn at once; a dozen would hold up who scrolls or types meanwhile. */
const MAX_CANVASES = 3;

export class Painter {
  #frame = null;
  #paceTimer = null;
  #nextPanel = 0;
  // Who waited for a picture wants the whole of it.
  #isFirst = true;

  /**
   * @param {Panel[]} panels
   * @param {() => {store: Store, source: string | null, moment: Moment, isHeld: boolean, isStill: boolean}} readFrame
   *   `isHeld`: nothing is to be painted now; `isStill`: nothing that came since, but what is shown may move
   */
  constructor(panels, readFrame) {
    this.panels = panels;
    this.readFrame = readFrame;
  }

  /** Paint with the next frame, and from then on at the usual pace. */
  start() {
    this.stop();
    this.#schedulePaint();
  }

  stop() {
    clearTimeout(this.#paceTimer);
    cancelAnimationFrame(this.#frame);
  }

  #schedulePaint() {
    this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    const { isHeld, isStill, ...frame } = this.readFrame();
    if (!isHeld) {
      if (!isStill) for (const panel of this.panels) paintSafely(() => panel.paint(frame));
      this.#drawCanvases(frame.moment, this.#isFirst ? this.panels.length : MAX_CANVASES);
    }
    this.#isFirst = isHeld;
    this.#paceTimer = setTimeout(() => this.#schedulePaint(), PAINT_INTERVAL_MS);
  }

  /** Draw at most so many canvases, in turn. */
  #drawCanvases(moment, most) {
    let left = most;
    for (let tried = 0; tried < this.panels.length && left > 0; tried += 1) {
      this.#nextPanel = (this.#nextPanel + 1) % this.panels.length;
      if (paintSafely(() => this.panels[this.#nextPanel].draw(moment))) left -= 1;
    }
  }
}

/** One panel that fails, on a value that nobody thought of, must not stop the others, and itself, for good. */
function paintSafely(paint) {
  try {
    return paint();
  } catch (error) {
    reportError(error);
    return false;
  }
}
