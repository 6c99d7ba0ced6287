// Units of bytes and bits, which are scaled by their prefix: 12,300 MB is 12.3 GB. core/units.py has the same table.

/** The factor between neighbours, and the units of a family in ascending order. */
const FAMILIES = [
  [1000, ["B", "kB", "MB", "GB", "TB", "PB"]],
  [1000, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"]],
  [1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]],
  [1024, ["KiB/s", "MiB/s", "GiB/s", "TiB/s", "PiB/s"]],
  [1000, ["bit", "kbit", "Mbit", "Gbit", "Tbit"]],
  [1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]],
  [1000, ["bps", "kbps", "Mbps", "Gbps", "Tbps"]],
];

/** Other spellings of these units. */
const SPELLINGS = new Map([
  ["byte", "B"],
  ["bytes", "B"],
  ["bytes/s", "B/s"],
  ["KB", "kB"],
  ["KB/s", "kB/s"],
  ["bits", "bit"],
  ["bits/s", "bit/s"],
  ["Kbps", "kbps"],
]);

/** Below this share of the next unit a number is written in its own: 999.6 kB would be rounded to 1,000 kB. */
const NEXT = 0.9995;

/**
 * Return the unit in which to write a number, and by what to divide the number for it.
 *
 * @param {number} size of the number in `unit`, or the largest of several
 * @param {string} unit
 * @returns {{unit: string, divisor: number, isSmallest: boolean} | null} null for a unit of another kind
 */
export function scaleUnit(size, unit) {
  const own = SPELLINGS.get(unit) ?? unit;
  const family = FAMILIES.find(([, units]) => units.includes(own));
  if (family === undefined) return null;
  const [factor, units] = family;
  let place = units.indexOf(own);
  let divisor = 1;
  if (size > 0) {
    while (place + 1 < units.length && size / divisor >= factor * NEXT) [place, divisor] = [place + 1, divisor * factor];
    while (place > 0 && size / divisor < NEXT) [place, divisor] = [place - 1, divisor / factor];
  }
  return { unit: units[place], divisor, isSmallest: place === 0 };
}

/**
 * Return the unit that a producer has stated for a field: for the field itself, or for an object that holds it.
 *
 * @param {Record<string, string> | null | undefined} units by the names of fields
 * @param {string} path
 * @returns {string} empty if it has stated none
 */
export function statedUnit(units, path) {
  return String(statedFor(units, path) ?? "");
}

/**
 * Return what a producer has stated for a field, or for an object that holds it.
 *
 * @template T
 * @param {Record<string, T> | null | undefined} stated by the names of fields
 * @param {string} path
 * @returns {T | undefined}
 */
export function statedFor(stated, path) {
  if (!stated) return undefined;
  for (let name = path; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf(".")))) {
    if (Object.hasOwn(stated, name)) return stated[name];
  }
  return undefined;
}
