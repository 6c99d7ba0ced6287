"""Names of fields in a metric's data: a key, or a path of keys that are joined with dots.

A key may contain dots itself. One rule tells it from a path: the longest key that fits wins, so the exact key wins over
every path. `client/path.js` has the same rule. A name covers the field that it names and all fields below it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

MISSING: Any = object()
"""What `look_up` returns where there is nothing."""


def look_up(data: Any, path: str) -> Any:
    """Return the value that `path` names in decoded data, or MISSING."""
    if type(data) is not dict:
        return MISSING
    if path in data:
        return data[path]
    for head, rest in splits(path):
        if head in data and (found := look_up(data[head], rest)) is not MISSING:
            return found
    return MISSING


def splits(path: str) -> Iterator[tuple[str, str]]:
    """Yield each key with which a path can begin and the rest of the path, the longest key first."""
    dot = path.rfind(".")
    while dot >= 0:
        yield path[:dot], path[dot + 1 :]
        dot = path.rfind(".", 0, dot)


def is_covered(path: str, names: Collection[str]) -> bool:
    """Return whether one of the names covers a path; an empty name covers nothing but itself."""
    return path in names or ("." in path and any(head and head in names for head, _ in splits(path)))


def common_names(mine: frozenset[str], theirs: frozenset[str]) -> frozenset[str]:
    """Return the names that cover what both cover."""
    return frozenset(
        [name for name in mine if is_covered(name, theirs)] + [name for name in theirs if is_covered(name, mine)]
    )


@lru_cache(maxsize=1_000)
def names_below(names: frozenset[str]) -> dict[str, frozenset[str]]:
    """Return what the names select within objects: the names below each key with which one of them begins."""
    below: dict[str, set[str]] = {}
    for name in names:
        for head, rest in splits(name):
            below.setdefault(head, set()).add(rest)
    return {head: frozenset(rests) for head, rests in below.items()}
