// Labels and units that change while a dashboard is open: its panels get those of the catalogue of now.

/**
 * @param {Panel[]} panels
 * @param {{changed: {slug: string, fields: object[]}[]}} message `catalogue_changed`
 * @returns {Panel[]} those of which a field has another label, unit or bound
 */
export function updateFields(panels, message) {
  const types = new Map(message.changed.map(({ slug, fields }) => [slug, new Map(fields.map((each) => [each.name, each]))]));
  return panels.filter(({ config }) => {
    const known = types.get(config.metric_type);
    if (known === undefined) return false;
    const before = JSON.stringify(config.fields);
    for (const field of config.fields) {
      const described = known.get(field.path);
      if (described === undefined) continue;
      const { label, unit, minimum, maximum } = described;
      Object.assign(field, { label, unit, minimum: minimum ?? undefined, maximum: maximum ?? undefined });
    }
    return JSON.stringify(config.fields) !== before;
  });
}
