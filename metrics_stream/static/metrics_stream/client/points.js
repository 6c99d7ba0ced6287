// Points in typed arrays that grow, and are reused once they are large enough.

/** Times in milliseconds, oldest first; for each the newest value, and the lowest and highest where they differ. */
export class Points {
  #times = new Float64Array(64);
  #values = new Float64Array(64);
  // Most series never need lows and highs.
  #lows = null;
  #highs = null;
  #start = 0;
  #end = 0;

  get length() {
    return this.#end - this.#start;
  }

  /** @returns {number} points for which memory is allocated */
  get capacity() {
    return this.#times.length;
  }

  /** @returns {boolean} whether a point may represent several values */
  get hasRanges() {
    return this.#lows !== null;
  }

  /** @param {number} index @returns {number} milliseconds */
  timeAt(index) {
    return this.#times[this.#start + index];
  }

  /** @param {number} index @returns {number} */
  valueAt(index) {
    return this.#values[this.#start + index];
  }

  /** @returns {Float64Array} a view, which the next change may alter; so are the others */
  get times() {
    return this.#times.subarray(this.#start, this.#end);
  }

  get values() {
    return this.#values.subarray(this.#start, this.#end);
  }

  get lows() {
    return (this.#lows ?? this.#values).subarray(this.#start, this.#end);
  }

  get highs() {
    return (this.#highs ?? this.#values).subarray(this.#start, this.#end);
  }

  /**
   * @param {number} timeMs later than the last point
   * @param {number} value NaN: no value
   * @param {number} [low]
   * @param {number} [high]
   */
  push(timeMs, value, low = value, high = value) {
    if (this.#end === this.#times.length) this.#grow();
    // Both are NaN where there is no value.
    if (low !== high && low === low) this.#allocateRanges();
    const index = this.#end;
    this.#end += 1;
    this.#times[index] = timeMs;
    this.#values[index] = value;
    if (this.hasRanges) {
      this.#lows[index] = low;
      this.#highs[index] = high;
    }
  }

  /** Put a point before the one at `index`. */
  insert(index, timeMs, value) {
    this.push(timeMs, value);
    const place = this.#start + index;
    for (const column of [this.#times, this.#values, this.#lows, this.#highs]) {
      if (column === null) continue;
      const moved = column[this.#end - 1];
      column.copyWithin(place + 1, place, this.#end - 1);
      column[place] = moved;
    }
  }

  /** Extend the range of a point. */
  widen(index, low, high) {
    const place = this.#start + index;
    const [oldLow, oldHigh] = [(this.#lows ?? this.#values)[place], (this.#highs ?? this.#values)[place]];
    if (low >= oldLow && high <= oldHigh) return;
    this.#allocateRanges();
    this.#lows[place] = Math.min(oldLow, low);
    this.#highs[place] = Math.max(oldHigh, high);
  }

  /** Replace the newest value of a point; one that had no value gets no range. */
  setValue(index, value) {
    const place = this.#start + index;
    if (this.hasRanges && Number.isNaN(this.#values[place])) this.#lows[place] = this.#highs[place] = value;
    this.#values[place] = value;
  }

  /** Forget the oldest points. @param {number} count */
  drop(count) {
    this.#start += count;
  }

  #allocateRanges() {
    if (this.hasRanges) return;
    this.#lows = this.#values.slice();
    this.#highs = this.#values.slice();
  }

  #grow() {
    const length = this.length;
    // With a quarter free, move the rest to the front. Otherwise double; so memory never exceeds twice the most points.
    const grown = this.#start >= this.#times.length / 4 ? this.#times.length : this.#times.length * 2;
    const move = (column) => {
      if (column === null) return null;
      const target = grown === column.length ? column : new Float64Array(grown);
      target.set(column.subarray(this.#start, this.#end));
      return target;
    };
    this.#times = move(this.#times);
    this.#values = move(this.#values);
    this.#lows = move(this.#lows);
    this.#highs = move(this.#highs);
    this.#start = 0;
    this.#end = length;
  }
}
