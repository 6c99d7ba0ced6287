"""Labels for names of the wire."""

from __future__ import annotations

import re

# Names that are written as identifiers; any other name is a label already, such as "GET /api/x".
_IDENTIFIER = re.compile(r"[a-z0-9]+(_+[a-z0-9]+)*")
_PERCENTILE = re.compile(r"p\d+")


def label_of(name: str) -> str:
    """Return the label of a field that no catalogue knows: the end of a path, or the name as it was given."""
    parts = name.split(".")
    if not all(map(_IDENTIFIER.fullmatch, parts)):
        return name
    label = parts[-1].replace("_", " ")
    # "p99 latency", as everybody writes it.
    return label if _PERCENTILE.match(label) else label[:1].upper() + label[1:]
