"""Numbers on what producers publish, by which a hub tells what is missing and what came twice.

Room: core. A channel layer loses messages without a word, and brings one twice when its answer came too late and the
producer sent it again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

# Producers of one metric type that are remembered; past it the one that was silent longest is forgotten, and what it
# publishes next is taken as its beginning.
MAX_PRODUCERS = 10_000

# What is late is told from what came before by the ranges that are missing; so many of one producer are remembered.
MAX_MISSING_RANGES = 16


class Numbering:
    """The numbers of one producer, a sequence for each metric type."""

    def __init__(self) -> None:
        self._next: Counter[str] = Counter()

    def take(self, metric_type: str, count: int) -> int:
        """Return the number of the first of `count` metrics; the others have those that follow."""
        first = self._next[metric_type]
        self._next[metric_type] += count
        return first


class Heard(NamedTuple):
    """What the numbers of a batch say: how many metrics are missing before it, and whether it came before."""

    missing: int
    repeated: bool


@dataclass(slots=True)
class _Sequence:
    next: int
    missing: list[tuple[int, int]] = field(default_factory=list)

    def hear(self, first: int, end: int) -> Heard:
        if first >= self.next:
            missing = first - self.next
            if missing:
                self.missing = [*self.missing, (self.next, first)][-MAX_MISSING_RANGES:]
            self.next = end
            return Heard(missing, repeated=False)
        for index, (start, stop) in enumerate(self.missing):
            if start <= first and end <= stop:
                # Late, since some layers do not keep the order; said to be missing already, and better now than never.
                self.missing[index : index + 1] = [(a, b) for a, b in ((start, first), (end, stop)) if a < b]
                return Heard(0, repeated=False)
        return Heard(0, repeated=True)


class Continuity:
    """Follows the numbers of all producers, of the metric types that are heard."""

    def __init__(self) -> None:
        self._sequences: dict[str, OrderedDict[str, _Sequence]] = {}

    def begin(self, metric_type: str) -> None:
        """Follow a metric type from now on; harmless when it is followed already."""
        self._sequences.setdefault(metric_type, OrderedDict())

    def end(self, metric_type: str) -> None:
        """Follow it no more; what is published meanwhile will not count as missing."""
        self._sequences.pop(metric_type, None)

    def hear(self, producer: str, metric_type: str, *, first: int, count: int) -> Heard:
        """Take a batch that arrived; the first of a producer says nothing about what came before it."""
        sequences = self._sequences.get(metric_type)
        if sequences is None:
            return Heard(0, repeated=False)
        sequence = sequences.get(producer)
        if sequence is None:
            sequences[producer] = _Sequence(first + count)
            if len(sequences) > MAX_PRODUCERS:
                sequences.popitem(last=False)
            return Heard(0, repeated=False)
        sequences.move_to_end(producer)
        return sequence.hear(first, first + count)
