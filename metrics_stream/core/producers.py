"""Notice that several producers publish metrics of the same type and source at a time.

Viewers then see one line that jumps between their numbers, and mode `latest` shows now one and now the other. A program
that was restarted is another producer, but the one before is silent: only producers that take turns are a conflict.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from metrics_stream.core.lru import LruDict

# Producers are in conflict if the producer changed so often within so many seconds. A restart is one change, and what
# the old process sent last may come after the first of the new one.
CHANGES = 3
WITHIN_SECONDS = 60.0
# The conflict is over when the producer has not changed for this long.
OVER_SECONDS = 30.0

# So many types, sources and agents are followed, and so many producers of each are named.
MAX_FOLLOWED = 2_000
MAX_NAMED = 4


class Conflict(NamedTuple):
    """Several producers of one metric type and source; `producers` name the latest of them, in no order."""

    metric_type: str
    source: str
    producers: tuple[str, ...]


class _Followed:
    __slots__ = ("changes", "latest", "producers")

    def __init__(self, producer: str) -> None:
        self.latest = producer
        self.producers = [producer]
        self.changes: deque[float] = deque(maxlen=CHANGES)


class Producers:
    """Who publishes each metric type and source, as far as it is known; the caller passes in the time."""

    def __init__(self) -> None:
        self._followed: LruDict[tuple[str, str, Hashable], _Followed] = LruDict(MAX_FOLLOWED)

    def observe(self, metric_type: str, source: str, rows: Hashable, producer: str, now: float) -> None:
        """Note who published a metric. Metrics of different rows may come from different producers."""
        key = metric_type, source, rows
        followed = self._followed.get(key)
        if followed is None:
            self._followed.put(key, _Followed(producer))
        elif followed.latest != producer:
            self._followed.move_to_end(key)
            followed.latest = producer
            followed.changes.append(now)
            if producer in followed.producers:
                followed.producers.remove(producer)
            followed.producers = [*followed.producers, producer][-MAX_NAMED:]

    def conflicts(self, now: float) -> list[Conflict]:
        """Return the current conflicts, one for each metric type and source."""
        found: dict[tuple[str, str], set[str]] = {}
        for metric_type, source, producers in self._current(now):
            found.setdefault((metric_type, source), set()).update(producers)
        return [Conflict(*key, tuple(sorted(producers))) for key, producers in sorted(found.items())]

    def _current(self, now: float) -> Iterator[tuple[str, str, list[str]]]:
        for (metric_type, source, _), followed in self._followed.items():
            changes = followed.changes
            if len(changes) < CHANGES or now - changes[-1] > OVER_SECONDS:
                continue
            if changes[-1] - changes[0] <= WITHIN_SECONDS and len(followed.producers) > 1:
                yield metric_type, source, followed.producers
