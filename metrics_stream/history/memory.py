"""The history of a server with a single process: in its memory, gone when the process ends."""

from __future__ import annotations

import os
import secrets
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from typing import NamedTuple
from weakref import WeakSet

from metrics_stream.core.errors import BusError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.history.accepted import LostReport
from metrics_stream.history.interface import (
    DEFAULT_PAGE_METRICS,
    PAGE_BYTES,
    ActiveRun,
    Bounds,
    Page,
    Placed,
    newest_of_each_key,
    runs_of,
)
from metrics_stream.history.newest_kinds import NewestKinds

# The number of producers whose last number is remembered; beyond it the producer that was silent longest is forgotten.
MAX_PRODUCERS = 10_000


class _Kept(NamedTuple):
    batch: HistoryBatch
    size: int


class _Ring:
    """The batches of one metric type, and for each key the offset of its newest metric."""

    def __init__(self) -> None:
        self.end = 0
        self._kept: list[_Kept] = []
        self._start = 0
        self._bytes = 0
        self._newest = NewestKinds()

    @property
    def first(self) -> int:
        """The number of metrics before the oldest that is kept."""
        return self._kept[self._start].batch.first if self._start < len(self._kept) else self.end

    @property
    def oldest_at(self) -> float | None:
        return self._kept[self._start].batch.published_at if self._start < len(self._kept) else None

    def append(self, batch: HistoryBatch, size: int) -> None:
        self._kept.append(_Kept(batch, size))
        self._bytes += size
        self.end = batch.end
        for key, index in newest_of_each_key(batch.metrics).items():
            self._newest.put(key, batch.first + index, len(batch.metrics[index].body), batch.owner)

    def trim(self, bounds: Bounds, now: float) -> None:
        start, newest_batch = self._start, len(self._kept) - 1
        while self._start <= newest_batch:
            batch, size = self._kept[self._start]
            too_much = self.end - batch.first > bounds.metrics or self._bytes > bounds.bytes
            if now - batch.published_at <= bounds.seconds and not (too_much and self._start < newest_batch):
                break
            self._bytes -= size
            self._start += 1
        if self._start == start:
            return
        self._newest.drop_before(self.first)
        # In large parts, so that the cost of each batch does not depend on how many are kept.
        if self._start * 2 > len(self._kept):
            del self._kept[: self._start]
            self._start = 0

    def after(self, offset: int, until: int) -> Iterator[HistoryBatch]:
        """Return the metrics between two offsets."""
        index = bisect_right(self._kept, offset, lo=self._start, key=lambda kept: kept.batch.end)
        while offset < until and index < len(self._kept) and (batch := self._kept[index].batch).first < until:
            yield batch.after(offset).before(until)
            index += 1

    def offset_at(self, instant: float) -> int:
        """Return the number of metrics before the first that was published at an instant or later."""
        index = bisect_left(self._kept, instant, lo=self._start, key=lambda kept: kept.batch.published_at)
        return self._kept[index].batch.first if index < len(self._kept) else self.end

    def newest(self) -> Iterator[HistoryBatch]:
        return (next(self.after(offset, offset + 1)) for offset in self._newest.offsets())


class MemoryHistory:
    """A bounded ring for each metric type. It can be used from several threads and event loops."""

    def __init__(self, bounds: Bounds, *, now: Callable[[], float] = time.time) -> None:
        self._bounds = bounds
        self._now = now
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Drop everything, begin a new epoch and release the lock."""
        self._lock = threading.Lock()
        self._active: tuple[ActiveRun, ...] | None = None
        self._last_at = 0.0
        self._begin()

    def _begin(self) -> None:
        self._epoch = f"{int(self._now() * 1000):013d}{secrets.token_hex(4)}"
        self._order = 0
        self._rings: dict[str, _Ring] = {}
        self._placed: OrderedDict[str, dict[str, tuple[int, Placed]]] = OrderedDict()

    async def append(
        self,
        batch: Sequence[Metric],
        *,
        owner: str = "",
        payload: bytes,
        producer: str,
        number: int,
        known: Position | None,
    ) -> Placed:
        """Keep a batch; see History."""
        metric_type = batch[0].metric_type
        with self._lock:
            self._follow(known)
            placed = self._placed_before(producer, metric_type, number)
            if placed is None:
                placed = self._append(metric_type, batch, len(payload), owner)
                self._placed.setdefault(producer, {})[metric_type] = (number, placed)
                self._placed.move_to_end(producer)
                if len(self._placed) > MAX_PRODUCERS:
                    self._placed.popitem(last=False)
            return placed

    async def confirm(self, known: Position) -> None:
        """Begin a new epoch if a position is not reached; see History."""
        with self._lock:
            self._follow(known)

    def _follow(self, known: Position | None) -> None:
        if known is None or known.epoch != self._epoch:
            return
        if any(offset > self._end(metric_type) for metric_type, offset in known.offsets.items()):
            self._begin()

    def _placed_before(self, producer: str, metric_type: str, number: int) -> Placed | None:
        last, placed = self._placed.get(producer, {}).get(metric_type, (-1, None))
        if number < last:
            raise BusError(f"the history got number {number} of a producer after its number {last}")
        return placed if number == last else None

    def _append(self, metric_type: str, batch: Sequence[Metric], size: int, owner: str) -> Placed:
        ring = self._rings.setdefault(metric_type, _Ring())
        # Times must not decrease, also when the clock is set back.
        self._last_at = max(self._last_at, self._now())
        self._order += 1
        runs = runs_of({metric.source for metric in batch}, self._active)
        placed = Placed(self._epoch, ring.end, self._order, self._last_at, runs)
        ring.append(HistoryBatch(metric_type, metrics=list(batch), owner=owner, **placed._asdict()), size)
        ring.trim(self._bounds, self._last_at)
        return placed

    async def heads(self, metric_types: Iterable[str]) -> Position:
        """Return where the types end; see History."""
        with self._lock:
            return Position(self._epoch, {item: self._end(item) for item in metric_types})

    def _end(self, metric_type: str) -> int:
        ring = self._rings.get(metric_type)
        return ring.end if ring is not None else 0

    def _trim_rings(self, metric_types: Iterable[str]) -> dict[str, _Ring]:
        now = max(self._last_at, self._now())
        rings = {}
        for metric_type in metric_types:
            rings[metric_type] = ring = self._rings.get(metric_type) or _Ring()
            ring.trim(self._bounds, now)
        return rings

    async def since(
        self,
        position: Position,
        *,
        until: Position | None = None,
        is_past: bool = False,
        max_metrics: int = DEFAULT_PAGE_METRICS,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """Return the metrics after a position; see History."""
        if is_past:
            return Page([], position, True, {})  # nothing is kept of an earlier epoch
        with self._lock:
            offsets: dict[str, int] = {}
            ends: dict[str, int] = {}
            lost: dict[str, int | None] = {}
            rings = self._trim_rings(position.offsets)
            for metric_type, ring in rings.items():
                asked = position.offsets[metric_type]
                if position.epoch != self._epoch or asked > ring.end:
                    lost[metric_type] = None
                    asked = 0 if position.epoch != self._epoch else ring.end
                end = ring.end
                if until is not None:
                    # No metric of this epoch came before a position of another one.
                    end = min(end, until.offsets.get(metric_type, end)) if until.epoch == self._epoch else 0
                offsets[metric_type] = min(max(asked, ring.first), max(asked, end))
                ends[metric_type] = end
                if offsets[metric_type] > asked:
                    lost.setdefault(metric_type, offsets[metric_type] - asked)
            found = (ring.after(offsets[item], ends[item]) for item, ring in rings.items())
            batches: list[HistoryBatch] = []
            for batch in merge(*found, key=lambda batch: batch.order):
                max_metrics -= len(batch.metrics)
                max_bytes -= sum(len(metric.body) for metric in batch.metrics)
                if batches and (max_metrics < 0 or max_bytes < 0):
                    break
                batches.append(batch)
                offsets[batch.metric_type] = batch.end
            is_last = all(offsets[item] >= ends[item] for item in rings)
            return Page(batches, Position(self._epoch, offsets), is_last, lost)

    async def since_time(self, metric_types: Iterable[str], seconds_since_1970: float) -> Position:
        """Return the position before an instant; see History."""
        with self._lock:
            rings = self._trim_rings(metric_types)
            offsets = {item: ring.offset_at(seconds_since_1970) for item, ring in rings.items()}
            return Position(self._epoch, offsets)

    async def newest(self, metric_types: Iterable[str]) -> list[HistoryBatch]:
        """Return the newest metric of each key; see History."""
        with self._lock:
            return list(
                merge(
                    *(ring.newest() for ring in self._trim_rings(metric_types).values()), key=lambda batch: batch.order
                )
            )

    async def oldest_at(self, metric_types: Iterable[str]) -> float | None:
        """Return when the oldest metric was published; see History."""
        with self._lock:
            rings = self._trim_rings(metric_types).values()
            return min((ring.oldest_at for ring in rings if ring.oldest_at is not None), default=None)

    async def set_active_runs(self, runs: Sequence[ActiveRun]) -> None:
        """Set the runs in progress."""
        self._active = tuple(runs)

    async def active_runs(self) -> tuple[ActiveRun, ...] | None:
        """Return the runs in progress; see History."""
        return self._active

    def note_accepted(self, batch: Sequence[Metric], placed: Placed) -> None:
        """Do nothing: who would report the loss of this memory is lost with it."""

    async def lost_reports(self) -> list[LostReport]:
        """Return nothing; see `note_accepted`."""
        return []

    async def drop_lost_reports(self, reports: Sequence[LostReport]) -> None:
        """Do nothing; see `note_accepted`."""

    async def announce(self, installation: str, gone_seconds: float) -> list[str]:
        """Return the installation alone: nobody else has this memory."""
        return [installation]

    async def clock(self) -> float:
        """Return the time of this process; see History."""
        return self._now()

    async def close(self) -> None:
        """Do nothing: no event loop has a connection."""


_all: WeakSet[MemoryHistory] = WeakSet()


def _forget_all() -> None:
    for history in list(_all):
        history.forget()


# A forked child must not have the history of its parent, and a thread of the parent may have held the lock.
os.register_at_fork(after_in_child=_forget_all)
