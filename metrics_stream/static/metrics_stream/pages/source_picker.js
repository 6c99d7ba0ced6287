// The choice of one source among the known ones; the page's address holds it.

export class SourcePicker {
  #shownKey = "";
  /** @type {Map<string, string>} what is wrong with the clocks of sources, in words */
  #marks = new Map();
  #removers = [];

  /** @param {HTMLSelectElement | null} select */
  constructor(select) {
    this.select = select;
    /** @type {string | null} null: all sources */
    this.source = new URL(location.href).searchParams.get("source") || null;
  }

  start() {
    if (this.select === null) return;
    const pick = () => this.#chooseSource(this.select.value || null);
    this.select.addEventListener("change", pick);
    this.#removers.push(() => this.select.removeEventListener("change", pick));
    this.show([]);
  }

  stop() {
    for (const remove of this.#removers.splice(0)) remove();
  }

  /** @param {string[]} sources */
  show(sources) {
    if (this.select === null) return;
    const shown = this.source === null || sources.includes(this.source) ? sources : [...sources, this.source];
    const labels = shown.map((source) => this.#labelOf(source));
    const known = labels.join("\u0000");
    if (known === this.#shownKey && this.select.options.length) return;
    this.#shownKey = known;
    this.select.replaceChildren(new Option("All sources", ""), ...shown.map((source, place) => new Option(labels[place], source)));
    this.select.value = this.source ?? "";
    this.select.title = this.source ?? "";
  }

  /** Mark sources from the next `show` on. @param {Map<string, string>} marks what is wrong with their clocks */
  mark(marks) {
    this.#marks = marks;
  }

  #labelOf(source) {
    const mark = this.#marks.get(source);
    return mark === undefined ? source : `${source} · clock ${mark}`;
  }

  #chooseSource(source) {
    this.source = source;
    this.select.title = source ?? "";
    const address = new URL(location.href);
    if (source === null) address.searchParams.delete("source");
    else address.searchParams.set("source", source);
    // In the address, so that a link shows the same source.
    history.replaceState(null, "", address);
  }
}
