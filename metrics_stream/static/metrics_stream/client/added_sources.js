// The values of all sources of a panel as one: of several load generators of one test.

import { outsideWords } from "./bounds.js";
import { joinSeries } from "./joined_series.js";
import { lookUp } from "./path.js";
import { presentOf, seriesOf } from "./readings.js";
import { mergeValues, ruleOf } from "./rows.js";

/**
 * Return the readings of a panel, one for each field of which there is a value.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {Sources} source only of these
 * @returns {Reading[]} `note`: words for the highest of several percentiles
 */
export function addedReadings(store, panel, source) {
  return panel.fields.flatMap((field) => {
    const latest = presentOf(store, panel, source).filter(({ data }) => lookUp(data, field.path) !== undefined);
    if (latest.length === 0) return [];
    const { value, unit, isWorst } = mergeValues(latest, field, panel);
    const series = addedSeries(store, { ...panel, fields: [field] }, source)[0]?.series ?? null;
    const outside = outsideWords(value, field, unit);
    const note = isWorst ? `highest of ${latest.length} sources` : "";
    return [{ key: field.path, field, value, unit, unitAt: () => "", outside, note, label: field.label, series }];
  });
}

/**
 * Return the series of a panel, one for each field.
 *
 * @param {Store} store
 * @param {object} panel
 * @param {Sources} source only of these
 * @returns {{field: Field, series: Series}[]}
 */
export function addedSeries(store, panel, source) {
  return panel.fields.flatMap((field) => {
    const list = seriesOf(store, { ...panel, fields: [field] }, source).map(({ series }) => series);
    return list.length === 0 ? [] : [{ field, series: joinSeries(list, ruleOf(field)) }];
  });
}
