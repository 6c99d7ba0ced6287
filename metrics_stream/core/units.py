"""Units of bytes and bits, which are scaled by their prefix: 12,300 MB is 12.3 GB.

`client/units.js` has the same table; a test compares what both make of numbers.
"""

from __future__ import annotations

from typing import NamedTuple

# The factor between neighbours, and the units of a family in ascending order.
_FAMILIES = (
    (1000, ("B", "kB", "MB", "GB", "TB", "PB")),
    (1000, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s")),
    (1024, ("KiB", "MiB", "GiB", "TiB", "PiB")),
    (1024, ("KiB/s", "MiB/s", "GiB/s", "TiB/s", "PiB/s")),
    (1000, ("bit", "kbit", "Mbit", "Gbit", "Tbit")),
    (1000, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")),
    (1000, ("bps", "kbps", "Mbps", "Gbps", "Tbps")),
)
_PLACES = {unit: (factor, units, place) for factor, units in _FAMILIES for place, unit in enumerate(units)}

# Other spellings of these units.
_SPELLINGS = {
    "byte": "B",
    "bytes": "B",
    "bytes/s": "B/s",
    "KB": "kB",
    "KB/s": "kB/s",
    "bits": "bit",
    "bits/s": "bit/s",
    "Kbps": "kbps",
}

# Below this share of the next unit a number is written in its own: 999.6 kB would be rounded to 1,000 kB.
_NEXT = 0.9995


class Scale(NamedTuple):
    """The unit in which to write a number, and by what to divide the number for it."""

    unit: str
    divisor: float
    is_smallest: bool


def scale_of(size: float, unit: str) -> Scale | None:
    """Return how to write a number of this size in `unit`; None for a unit of another kind."""
    if (found := _PLACES.get(_SPELLINGS.get(unit, unit))) is None:
        return None
    factor, units, place = found
    divisor = 1.0
    if size > 0:
        while place + 1 < len(units) and size / divisor >= factor * _NEXT:
            place, divisor = place + 1, divisor * factor
        while place > 0 and size / divisor < _NEXT:
            place, divisor = place - 1, divisor / factor
    return Scale(units[place], divisor, place == 0)
