// The choice of one source among the known ones; the page's address holds it.

export class SourcePicker {
  #shownKey = "";
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
    const known = shown.join("\u0000");
    if (known === this.#shownKey && this.select.options.length) return;
    this.#shownKey = known;
    this.select.replaceChildren(new Option("All sources", ""), ...shown.map((source) => new Option(source, source)));
    this.select.value = this.source ?? "";
    this.select.title = this.source ?? "";
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
