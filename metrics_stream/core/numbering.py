"""Number the metrics that producers publish, so that a hub sees which are missing and which came twice.

A channel layer loses messages silently. It delivers one twice if its answer came too late and the producer sent the
message again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

# So many producers of one metric type are remembered. Beyond that the one silent longest is forgotten, and its next
# batch counts as its first.
MAX_FOLLOWED_PRODUCERS = 10_000

# The ranges that are missing distinguish a late batch from a repeated one; so many of one producer are remembered.
MAX_MISSING_RANGES = 16


class Numbering:
    """The numbers that one producer gives, in one sequence for each metric type."""

    def __init__(self) -> None:
        self._next: Counter[str] = Counter()

    def take(self, metric_type: str, count: int) -> int:
        """Take `count` consecutive numbers and return the first of them."""
        first = self._next[metric_type]
        self._next[metric_type] += count
        return first


class Heard(NamedTuple):
    """What the numbers of a batch tell: how many metrics are missing before it, and whether it is a repetition."""

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
                # Some layers do not keep the order. The batch was reported as missing; deliver it late all the same.
                self.missing[index : index + 1] = [(a, b) for a, b in ((start, first), (end, stop)) if a < b]
                return Heard(0, repeated=False)
        return Heard(0, repeated=True)


class Continuity:
    """Follows the numbers of all producers, for the metric types that the process receives."""

    def __init__(self) -> None:
        self._sequences: dict[str, OrderedDict[str, _Sequence]] = {}

    def begin(self, metric_type: str) -> None:
        """Follow a metric type from now on, if it is not followed already."""
        self._sequences.setdefault(metric_type, OrderedDict())

    def end(self, metric_type: str) -> None:
        """Stop following a metric type; metrics published until the next `begin` do not count as missing."""
        self._sequences.pop(metric_type, None)

    def hear(self, producer: str, metric_type: str, *, first: int, count: int) -> Heard:
        """Note a batch that arrived; before the first batch of a producer nothing counts as missing."""
        sequences = self._sequences.get(metric_type)
        if sequences is None:
            return Heard(0, repeated=False)
        sequence = sequences.get(producer)
        if sequence is None:
            sequences[producer] = _Sequence(first + count)
            if len(sequences) > MAX_FOLLOWED_PRODUCERS:
                sequences.popitem(last=False)
            return Heard(0, repeated=False)
        sequences.move_to_end(producer)
        return sequence.hear(first, first + count)
