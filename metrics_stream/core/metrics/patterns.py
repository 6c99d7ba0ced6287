"""Patterns of filters and grants: texts in which `*` stands for any text, also an empty one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache

ANY = "*"

Match = Callable[[str], bool]


@lru_cache(maxsize=1_000)
def matcher_of(patterns: frozenset[str]) -> Match:
    """Return whether a text matches one of the patterns, as a function; without patterns none does."""
    exact = frozenset(pattern for pattern in patterns if ANY not in pattern)
    wild = patterns - exact
    if not wild:
        return exact.__contains__
    matches = re.compile("|".join(map(_as_expression, sorted(wild))), re.DOTALL).fullmatch
    return lambda text: text in exact or matches(text) is not None


def _as_expression(pattern: str) -> str:
    first, *middle, last = pattern.split(ANY)
    # Atomic groups: the first place where a piece fits is always right, so the time is linear in the text.
    pieces = "".join(f"(?>.*?{re.escape(piece)})" for piece in middle if piece)
    return f"{re.escape(first)}{pieces}.*{re.escape(last)}"


def covers(patterns: frozenset[str], other: str) -> bool:
    """Return whether one of the patterns matches every text that another pattern matches."""
    # A `*` of the other pattern can only be matched by a `*`, which matches any text in its place.
    return other in patterns or matcher_of(patterns)(other)


def covers_all(patterns: frozenset[str], others: Iterable[str]) -> bool:
    """Return whether the patterns match every text that the others match."""
    return all(covers(patterns, other) for other in others)


def overlap(mine: frozenset[str], theirs: frozenset[str]) -> frozenset[str] | None:
    """Return patterns of the texts that match both, empty if none does; None if no patterns are known that say so."""
    common = {one for one in mine if covers(theirs, one)} | {one for one in theirs if covers(mine, one)}
    open_mine, open_theirs = _wild(mine - common), _wild(theirs - common)
    if any(_may_meet(one, other) for one in open_mine for other in open_theirs):
        return None
    return frozenset(common)


def _wild(patterns: Iterable[str]) -> list[str]:
    return [pattern for pattern in patterns if ANY in pattern]


def _may_meet(one: str, other: str) -> bool:
    """Return whether two patterns with `*` can match the same text, by how they begin and end."""
    begins = one.partition(ANY)[0], other.partition(ANY)[0]
    ends = one.rpartition(ANY)[2], other.rpartition(ANY)[2]
    return (begins[0].startswith(begins[1]) or begins[1].startswith(begins[0])) and (
        ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])
    )


def count_wild(patterns: Collection[str]) -> int:
    """Return how many of the patterns have a `*`: each costs time for each text."""
    return len(_wild(patterns))
