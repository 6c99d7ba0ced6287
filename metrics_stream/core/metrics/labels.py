"""Labels for names of the wire."""

from __future__ import annotations

import re

# Names that are written as identifiers; any other name is a label already, such as "GET /api/x".
_IDENTIFIER = re.compile(r"[a-z0-9]+(_+[a-z0-9]+)*")
_PERCENTILE = re.compile(r"p\d+")


# What names end with, by the unit that is shown beside the value; client/format.js has the same.
_ENDINGS = {
    "ms": "_ms",
    "s": "_seconds",
    "tps": "_tps",
    "percent": "_percentage",
    "months": "_months",
    "Mbps": "_mbps",
    "MB": "_mb",
    "MB/s": "_mb_per_second",
}


def label_of(name: str, unit: str = "") -> str:
    """Return the label of a field that no catalogue knows: the end of a path, or the name as it was given.

    A `unit` is shown beside the value, so that the label does not repeat it.
    """
    name = name.removesuffix(_ENDINGS.get(unit, ""))
    parts = name.split(".")
    if not all(map(_IDENTIFIER.fullmatch, parts)):
        return name
    label = parts[-1].replace("_", " ")
    # "p99 latency", as everybody writes it.
    return label if _PERCENTILE.match(label) else label[:1].upper() + label[1:]
