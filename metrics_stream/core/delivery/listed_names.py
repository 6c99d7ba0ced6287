"""Lists of names for people, of which each viewer reads only those that it may see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

# Longer lists of names are cut, to keep the page readable.
MOST_LISTED_NAMES = 6

Visible = Callable[[Collection[str]], Sequence[str]]
"""Returns those of some names that the person who asks may see."""


def list_names(terms: Collection[str], visible: Visible, *, most: int = MOST_LISTED_NAMES) -> str:
    """Return the visible names, at most so many, and the numbers of the others."""
    names = visible(terms if isinstance(terms, tuple) else sorted(terms))
    beyond, hidden = len(names) - most, len(terms) - len(names)
    parts = [", ".join(names[:most])] if names else []
    parts += [f"{beyond:,} more"] if beyond > 0 else []
    parts += [f"{hidden:,} that you may not see"] if hidden else []
    return " and ".join(parts)
