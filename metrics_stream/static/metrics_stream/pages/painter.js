// When the panels of a page are painted: about every 50 ms while the page is visible, a few canvases at a time, but all
// of them the first time.

/** The page is painted about this often at most: each painting costs the browser, however little has changed. */
const PAINT_INTERVAL_MS = 50;

/** Canvases drawn at once; a dozen would delay scrolling and typing. */
const MAX_CANVASES = 3;

export class Painter {
  #frame = null;
  #paceTimer = null;
  #nextPanel = 0;
  // The first painting after a wait is of all panels.
  #isFirst = true;

  /**
   * @param {Panel[]} panels
   * @param {() => {store: Store, source: string | null, moment: Moment, isHeld: boolean, isStill: boolean}} readFrame
   *   `isHeld`: paint nothing now; `isStill`: do not paint newer data, though charts may move
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

  /** Draw at most `most` canvases, in turn. */
  #drawCanvases(moment, most) {
    let left = most;
    for (let tried = 0; tried < this.panels.length && left > 0; tried += 1) {
      this.#nextPanel = (this.#nextPanel + 1) % this.panels.length;
      if (paintSafely(() => this.panels[this.#nextPanel].draw(moment))) left -= 1;
    }
  }
}

/** A panel that fails, on an unexpected value, must not stop the others, nor itself for the next painting. */
function paintSafely(paint) {
  try {
    return paint();
  } catch (error) {
    reportError(error);
    return false;
  }
}
