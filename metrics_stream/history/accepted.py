"""What a process has published into a Redis that may be emptied: enough to count what was lost with it.

Only producers know what was accepted in an epoch of the history that is gone. As soon as a producer sees a new epoch,
it reports what the earlier ones had taken for test runs; the recorder counts what it had not recorded yet.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

import msgspec

from metrics_stream.core.metrics.metric import Metric

if TYPE_CHECKING:
    from metrics_stream.history.interface import Placed

# So many batches are remembered, some 4 MB: at 200 a second, those of more than a minute. The recorder is at most
# seconds behind, unless the database is away.
MAX_BATCHES = 20_000

Runs = dict[str, tuple[str, ...]] | None


class LostItem(msgspec.Struct, frozen=True, array_like=True):
    """Batches of one metric type that were accepted for the same runs; `runs` is None if they were unknown.

    `counts` are pairs: the offset of the first metric of a batch, and the number of its metrics that are of `source`.
    """

    metric_type: str
    source: str
    runs: tuple[str, ...] | None
    published_at: float
    counts: list[tuple[int, int]]


class LostReport(msgspec.Struct, frozen=True, array_like=True):
    """What one process had accepted in an epoch; of the metrics before the offsets in `forgotten` it knows nothing."""

    reporter: str
    epoch: str
    items: list[LostItem]
    forgotten: dict[str, int]


_Key = tuple[str, str, tuple[str, ...] | None, float]


class _Batch(NamedTuple):
    epoch: str
    metric_type: str
    first: int
    end: int
    published_at: float
    runs: Runs
    counts: dict[str, int]


class AcceptedBatches:
    """The batches that this process published for test runs last. Safe to use from several threads."""

    def __init__(self) -> None:
        _all.add(self)
        self.forget()

    def forget(self) -> None:
        """Drop everything and take a new name."""
        self._reporter = secrets.token_hex(8)
        self._batches: deque[_Batch] = deque()
        self._forgotten: dict[tuple[str, str], int] = {}
        self._epoch = ""
        self._is_due = False

    def note(self, batch: Sequence[Metric], placed: Placed) -> None:
        """Remember an accepted batch, if it belongs to a run or nobody knew whether it does."""
        if placed.runs is not None and not placed.runs:
            return
        counts = Counter(metric.source for metric in batch)
        end = placed.first + len(batch)
        metric_type = batch[0].metric_type
        self._batches.append(
            _Batch(placed.epoch, metric_type, placed.first, end, placed.published_at, placed.runs, counts)
        )
        if placed.epoch != self._epoch:
            self._is_due = True
        while len(self._batches) > MAX_BATCHES:
            oldest = self._batches.popleft()
            self._forgotten[oldest.epoch, oldest.metric_type] = oldest.end

    def follow(self, epoch: str) -> bool:
        """Take the epoch of an answer of the history; return whether lost batches have to be reported."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._is_due = bool(self._batches)
        return self._is_due

    def lost_before(self, epoch: str) -> list[LostReport]:
        """Return a report for each epoch before `epoch`."""
        found: dict[str, dict[_Key, list[tuple[int, int]]]] = {}
        for batch in self._batches.copy():
            if batch.epoch >= epoch:
                continue
            items = found.setdefault(batch.epoch, {})
            for source, count in batch.counts.items():
                if batch.runs is None:
                    # By its time the recorder decides to which runs it belongs.
                    key: _Key = (batch.metric_type, source, None, batch.published_at)
                elif source in batch.runs:
                    key = (batch.metric_type, source, batch.runs[source], int(batch.published_at))
                else:
                    continue
                items.setdefault(key, []).append((batch.first, count))
        return [
            LostReport(
                self._reporter,
                lost,
                [LostItem(*key, counts) for key, counts in items.items()],
                {metric_type: end for (of, metric_type), end in self._forgotten.copy().items() if of == lost},
            )
            for lost, items in found.items()
        ]

    def note_reported(self, epoch: str) -> None:
        """Note that everything before `epoch` was reported; a later epoch will need it again."""
        self._is_due = epoch != self._epoch


_all: WeakSet[AcceptedBatches] = WeakSet()


def _forget_all() -> None:
    for accepted in list(_all):
        accepted.forget()


# The metrics of the parent are not the child's to report.
os.register_at_fork(after_in_child=_forget_all)
