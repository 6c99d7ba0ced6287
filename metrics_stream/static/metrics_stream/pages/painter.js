// When the panels of a page are painted: about every 50 ms while it is seen, a few canvases at a time, but all of them
// the first time. Room: pages.

/** The page is painted at most about every so often; each time costs the browser, however little has changed. */
const PACE_MS = 50;

/** Canvases drawn at once; a dozen would hold up who scrolls or types meanwhile. */
const MOST_CANVASES = 3;

export class Painter {
  #frame = null;
  #pace = null;
  #turn = 0;
  // Who waited for a picture wants the whole of it.
  #isFirst = true;

  /**
   * @param {Panel[]} panels
   * @param {() => {store: Store, source: string | null, moment: Moment, isHeld: boolean, isStill: boolean}} look
   *   `isHeld`: nothing is to be painted now; `isStill`: nothing that came since, but what is shown may move
   */
  constructor(panels, look) {
    this.panels = panels;
    this.look = look;
  }

  /** Paint with the next frame, and from then on at the usual pace. */
  start() {
    this.stop();
    this.#paintSoon();
  }

  stop() {
    clearTimeout(this.#pace);
    cancelAnimationFrame(this.#frame);
  }

  #paintSoon() {
    this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    const { isHeld, isStill, ...frame } = this.look();
    if (!isHeld) {
      if (!isStill) for (const panel of this.panels) attempt(() => panel.paint(frame));
      this.#drawSome(frame.moment, this.#isFirst ? this.panels.length : MOST_CANVASES);
    }
    this.#isFirst = isHeld;
    this.#pace = setTimeout(() => this.#paintSoon(), PACE_MS);
  }

  /** Draw at most so many canvases, in turn. */
  #drawSome(moment, most) {
    let left = most;
    for (let tried = 0; tried < this.panels.length && left > 0; tried += 1) {
      this.#turn = (this.#turn + 1) % this.panels.length;
      if (attempt(() => this.panels[this.#turn].draw(moment))) left -= 1;
    }
  }
}

/** One panel that fails, on a value that nobody thought of, must not stop the others, and itself, for good. */
function attempt(paint) {
  try {
    return paint();
  } catch (error) {
    reportError(error);
    return false;
  }
}
