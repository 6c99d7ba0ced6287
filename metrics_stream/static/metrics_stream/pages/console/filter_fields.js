// The filters: fields for their terms, and suggestions from the catalogue and from received metrics.

import { KeyedList, element, setAttribute } from "../../charts/dom.js";
import { readKeyTerms, writeKeyTerms } from "../../client/keys.js";
import { noFilters, splitTerms } from "./console_selection.js";

/** About how many characters fit on a line of a field, and how many lines it has before it scrolls. */
const LINE_CHARACTERS = 44;
const MOST_LINES = 4;

export class FilterFields {
  #fields;
  #shownKey = "";

  /**
   * @param {HTMLElement} root
   * @param {object} options
   * @param {{slug: string, fields: {name: string, label: string}[]}[]} options.catalogue
   * @param {KnownNames} options.knownNames
   * @param {() => void} options.onInput the terms changed
   * @param {() => void} options.onChange a person has finished typing
   */
  constructor(root, { catalogue, knownNames, onInput, onChange }) {
    this.catalogue = catalogue;
    this.knownNames = knownNames;
    this.onInput = onInput;
    this.onChange = onChange;
    this.#fields = new Map(
      [...root.querySelectorAll("[data-filter]")].map((node) => {
        const key = node.dataset.filter;
        const chips = node.querySelector("[data-chips]");
        return [key, { terms: node.querySelector("[data-terms]"), chips, list: this.#createChipList(chips, key) }];
      }),
    );
    this.clearButton = root.querySelector("[data-filters-clear]");
  }

  start() {
    this.clearButton.addEventListener("click", () => {
      this.#writeTerms(termsOf(noFilters()));
      this.onInput();
      this.onChange();
    });
    for (const { terms } of this.#fields.values()) {
      terms.addEventListener("input", () => {
        fitRows(terms);
        this.onInput();
      });
      terms.addEventListener("change", () => this.onChange());
    }
  }

  /** @returns {Filters} */
  read() {
    const terms = this.#readTerms();
    return { ...terms, keys: readKeyTerms(terms.keys) };
  }

  /** @returns {string} what is wrong with what a person has typed; empty if nothing is */
  problem() {
    const wrong = this.#readTerms().keys.find((term) => term.indexOf("=") <= 0);
    return wrong === undefined ? "" : `“${wrong}” names no part of a key. Write a row as name=/api/* or method=GET.`;
  }

  /** @param {Filters} filters not shown in a field where a person types */
  show(filters) {
    const now = this.#readTerms();
    const changed = Object.entries(termsOf(filters)).filter(
      ([key, terms]) => document.activeElement !== this.#fields.get(key)?.terms && now[key]?.join() !== terms.join(),
    );
    this.#writeTerms(Object.fromEntries(changed));
  }

  /** Show suggestions for these metric types, or for all types if empty. @param {string[]} types */
  showSuggestions(types) {
    const chosen = this.#readTerms();
    const shown = JSON.stringify([this.knownNames.version, types, chosen]);
    if (shown === this.#shownKey) return;
    this.#shownKey = shown;
    const suggestions = {
      agent_ids: withoutTitles(this.knownNames.agent_ids),
      keys: withoutTitles(this.knownNames.keys),
      sources: withoutTitles(this.knownNames.sources),
      fields: this.#fieldSuggestions(types),
    };
    for (const [key, { list, chips }] of this.#fields) {
      const items = suggestions[key];
      list.show(items.map(({ term, title }) => ({ key: term, term, title, pressed: chosen[key].includes(term) })));
      setAttribute(chips, "hidden", items.length === 0);
    }
  }

  #readTerms() {
    return Object.fromEntries([...this.#fields].map(([key, { terms }]) => [key, splitTerms(terms.value)]));
  }

  #writeTerms(filters) {
    for (const [key, terms] of Object.entries(filters)) {
      const field = this.#fields.get(key)?.terms;
      if (field === undefined) continue;
      field.value = terms.join(", ");
      fitRows(field);
    }
  }

  #createChipList(host, key) {
    return new KeyedList(
      host,
      ({ term }) => {
        const node = element("button", { class: "chip", type: "button" }, term);
        node.addEventListener("click", () => this.#toggleTerm(key, term));
        return { node };
      },
      ({ node }, { pressed, title }) => {
        setAttribute(node, "aria-pressed", String(pressed));
        setAttribute(node, "title", title);
      },
    );
  }

  #toggleTerm(key, term) {
    const chosen = this.#readTerms()[key];
    const next = chosen.includes(term) ? chosen.filter((each) => each !== term) : [...chosen, term];
    this.#writeTerms({ [key]: next });
    this.onInput();
  }

  #fieldSuggestions(types) {
    const terms = new Map();
    const wanted = (slug) => types.length === 0 || types.includes(slug);
    for (const { slug, fields } of this.catalogue.filter((type) => wanted(type.slug))) {
      for (const { name, label } of fields) terms.set(name, { term: name, title: `${label} (${slug})` });
    }
    for (const [slug, names] of this.knownNames.fields) {
      if (!wanted(slug)) continue;
      for (const name of names) if (!terms.has(name)) terms.set(name, { term: name, title: slug });
    }
    return [...terms.values()];
  }
}

/** @param {Filters} filters @returns {Record<string, string[]>} as a person types them */
function termsOf({ keys = {}, ...lists }) {
  return { ...lists, keys: writeKeyTerms(keys) };
}

function withoutTitles(terms) {
  const sorted = [...terms].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  return sorted.map((term) => ({ term, title: null }));
}

function fitRows(area) {
  const needed = Math.max(area.value.split("\n").length, Math.ceil(area.value.length / LINE_CHARACTERS), 1);
  const rows = Math.min(MOST_LINES, needed);
  if (area.rows !== rows) area.rows = rows;
}
