// The metric types that a page knows: their labels, and label, unit and good direction of their fields. The server tells
// of types that come or change while the page is open, with `catalogue_changed`.

/** @typedef {{name: string, label: string, unit: string, kind: string, minimum: number | null,
 *   maximum: number | null, good: "higher" | "lower" | "none"}} FieldDescription
 * @typedef {{slug: string, label: string, fields: FieldDescription[]}} TypeDescription */

export class Catalogue {
  /** @type {Map<string, TypeDescription>} */
  #types = new Map();
  /** @type {Map<string, Map<string, FieldDescription>>} */
  #fields = new Map();

  /** @param {TypeDescription[]} types */
  constructor(types) {
    /** Grows with each change. */
    this.version = 0;
    this.#describe(types);
  }

  /** @returns {string[]} in the order in which they are shown */
  get slugs() {
    return [...this.#types.keys()];
  }

  /** @param {string} slug @returns {string} */
  labelOf(slug) {
    return this.#types.get(slug)?.label ?? slug;
  }

  /** @param {string} slug @param {string} path @returns {FieldDescription | null} null if nothing is known of it */
  field(slug, path) {
    return this.#fields.get(slug)?.get(path) ?? null;
  }

  /**
   * Take what the server says of a change; return whether it was such a message.
   *
   * @param {{type: string, metric_types: string[], changed: TypeDescription[]}} message
   * @returns {boolean}
   */
  take(message) {
    if (message.type !== "catalogue_changed" || !Array.isArray(message.changed)) return false;
    this.#describe(message.changed);
    const visible = new Set(message.metric_types);
    for (const slug of this.slugs) if (!visible.has(slug)) this.#types.delete(slug);
    return true;
  }

  #describe(types) {
    this.version += 1;
    for (const type of types) {
      this.#types.set(type.slug, type);
      this.#fields.set(type.slug, new Map(type.fields.map((field) => [field.name, field])));
    }
  }
}

/**
 * Put descriptions of types that came or changed into a list.
 *
 * @param {TypeDescription[]} types changed in place
 * @param {TypeDescription[]} changed
 */
export function replaceTypes(types, changed) {
  const others = types.filter(({ slug }) => changed.every((type) => type.slug !== slug));
  types.splice(0, types.length, ...others, ...changed);
}
