"""A dictionary of bounded size that forgets what was not used for the longest time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruDict(OrderedDict[K, V]):
    """Holds at most `limit` entries; past it, the entry that was not used for the longest time is dropped.

    Only `use` and `put` count as use: a look-up with `get` or `in` does not.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def use(self, key: K) -> V | None:
        """Return the value of a key and count this as its use; return None for an unknown key."""
        if key not in self:
            return None
        self.move_to_end(key)
        return self[key]

    def put(self, key: K, value: V) -> V:
        """Store a value, count this as its use, and return the value."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)
        return value
