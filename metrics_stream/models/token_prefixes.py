"""The prefixes of all tokens, in memory: they tell most guesses from tokens without a query for each of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

# A new token passes for a guess for so long, at an address that guesses too often.
FRESH_SECONDS = 5.0


class TokenPrefixes:
    """A set of prefixes that is read again when it is older than FRESH_SECONDS. Safe to use from several threads."""

    def __init__(self, read: Callable[[], Iterable[str]], *, now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now = now
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Read them again at the next question."""
        self._prefixes: frozenset[str] = frozenset()
        self._read_at: float | None = None

    def __contains__(self, prefix: str) -> bool:
        """Return whether a token has the prefix, as of FRESH_SECONDS ago at most; raise DatabaseError."""
        # The lock is held during the query: a flood of guesses must cause a single one.
        with self._lock:
            now = self._now()
            if self._read_at is None or now - self._read_at >= FRESH_SECONDS:
                self._read_at = now
                self._prefixes = frozenset(self._read())
            return prefix in self._prefixes
