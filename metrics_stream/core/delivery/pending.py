"""Hold the metrics of a view until its next frame is due, and the share of a client that is busy.

There is no clock here: methods that need an instant take `now`, in seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from metrics_stream.core.delivery.aggregation import Interval
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.newest_rows import Kind, NewestRows
from metrics_stream.core.metrics.projection import MALFORMED
from metrics_stream.core.protocol.bounds import (
    BATCH_SIZE,
    BATCH_TIMEOUT_SECONDS,
    DEFAULT_INTERVAL_SECONDS,
    INTERVAL_SECONDS,
    clamp,
)
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.messages import Mode

# A frame that an arriving metric makes due waits this long for metrics that arrive with it: producers publish several
# types at once, and a person does not notice 20 ms.
LINGER_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a client wants its metrics delivered. Hashable: clients with equal deliveries share a view."""

    interval_seconds: float = DEFAULT_INTERVAL_SECONDS
    batch_size: int = 10
    batch_timeout_seconds: float = 0.5
    mode: Mode = "all"

    @property
    def is_single(self) -> bool:
        """Whether each metric leaves in a frame of its own; those of one flush still leave together."""
        return self.batch_size == 1

    @classmethod
    def clamped(cls, *, interval_seconds: float, batch_size: int, batch_timeout_seconds: float, mode: Mode) -> Delivery:
        """Return a delivery whose numbers are clamped to the bounds of the protocol."""
        return cls(
            clamp(interval_seconds, INTERVAL_SECONDS),
            int(clamp(batch_size, BATCH_SIZE)),
            clamp(batch_timeout_seconds, BATCH_TIMEOUT_SECONDS),
            mode,
        )


class Item(msgspec.Struct, frozen=True, gc=False):
    """A metric and its part for the view's selection. `sequence` numbers the items of the view.

    Many wait at a time, and none is part of a reference cycle, so the garbage collector need not track them.
    """

    sequence: int
    metric: Metric
    body: bytes


@dataclass(slots=True)
class Loss:
    """The metrics that a client does not get: their number by reason (None if it is unknown), and their types."""

    counts: dict[GapReason, int | None] = field(default_factory=dict)
    metric_types: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.counts)

    @property
    def known(self) -> int:
        """The number of metrics that are known to be missing."""
        return sum(count or 0 for count in self.counts.values())

    def add(self, reason: GapReason, count: int | None, metric_types: Iterable[str]) -> None:
        """Count `count` more metrics as lost. Once the number is unknown (None), it stays so."""
        before = self.counts.get(reason, 0)
        self.counts[reason] = None if count is None or before is None else before + count
        self.metric_types.update(metric_types)

    def add_items(self, reason: GapReason, items: Iterable[Item]) -> None:
        """Count `items` as lost."""
        for item in items:
            self.add(reason, 1, (item.metric.metric_type,))

    def merge(self, other: Loss) -> None:
        """Add the counts of another loss."""
        for reason, count in other.counts.items():
            self.add(reason, count, other.metric_types)


class Window(NamedTuple):
    """The metrics of one frame interval, oldest first: the sequences from `start` up to `end`, less the loss.

    In mode `aggregate` they are in `interval`, and `items` are the summaries of all of it.
    """

    items: list[Item]
    start: int
    end: int
    loss: Loss
    mode: Mode
    interval: Interval | None = None

    def since(self, sequence: int) -> tuple[list[Item], Loss]:
        """Return the items and the loss of a client that joined at `sequence`."""
        if sequence <= self.start:
            return self.items, self.loss
        if self.interval is not None:
            items = _items_of(self.interval, sequence) if sequence < self.end else []
        else:
            items = [item for item in self.items if item.sequence >= sequence]
        loss = Loss()
        # In the other modes newer metrics replace older ones, which is no loss. There only the loss of the whole window
        # is known, which is an upper bound.
        missing = self.end - sequence - len(items) if self.mode == "all" else self.loss.known
        if missing and self.loss:
            loss.add(GapReason.PENDING_OVERFLOW, missing, self.loss.metric_types)
        return items, loss


class Pending:
    """The metrics of one view since its last frame, bounded in number and bytes. The oldest are dropped first.

    `due_at` is the instant at which the next frame is due, or None while nothing is pending.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        max_metrics: int,
        max_bytes: int,
        last_frame_at: float = -math.inf,
        keeps_sketches: bool = False,
    ) -> None:
        """With `keeps_sketches` the summaries of mode `aggregate` contain the merged sketches."""
        self.delivery = delivery
        self.last_frame_at = last_frame_at
        self.due_at: float | None = None
        self.next_sequence = 0
        self._takes_all = delivery.mode == "all"
        self._keeps_sketches = keeps_sketches
        self._max_metrics = max_metrics
        self._max_bytes = max_bytes
        self._start = 0
        self._items: dict[int | Kind, Item] = {}
        self._rows = NewestRows()
        self._bytes = 0
        self._loss = Loss()
        self._interval = self._new_interval()

    def __len__(self) -> int:
        return len(self._items) if self._interval is None else len(self._interval)

    def _new_interval(self) -> Interval | None:
        return Interval(self.next_sequence, self._keeps_sketches) if self.delivery.mode == "aggregate" else None

    def mark(self) -> int:
        """Return the sequence of the first item for a client that joins now; pass it to `Window.since`."""
        interval = self._interval
        # A new part holds the same fields once more. That must not push out the metrics of other clients.
        if interval and 2 * interval.size <= self._max_bytes and 2 * len(interval) <= self._max_metrics:
            interval.cut(self.next_sequence)
        return self.next_sequence

    def add(self, metric: Metric, body: bytes, now: float) -> bool:
        """Add one metric; return True if `due_at` has changed."""
        items = self._items
        sequence = self.next_sequence
        self.next_sequence = sequence + 1
        key: int | Kind = sequence
        if not self._takes_all:
            if self._interval is not None:
                return self._fold(self._interval, sequence, metric, body, now)
            key = metric.kind
            if (old := items.pop(key, None)) is not None:
                self._bytes -= size_of(old)
            # One that is still here has the newest of its only row.
            if metric.rows and (old is None or len(metric.rows) > 1):
                for replaced in self._rows.put(key):
                    self._bytes -= size_of(items.pop(replaced))
        items[key] = Item(sequence, metric, body)
        self._bytes += len(body) + 1
        if len(items) > self._max_metrics or self._bytes > self._max_bytes:
            self._drop_oldest()
        # Only the first metric, and the one that completes a batch, can change when the frame is due.
        if self.due_at is not None and len(items) != self.delivery.batch_size:
            return False
        before, self.due_at = self.due_at, self._due_after(now)
        return self.due_at != before

    def has_room(self, body: bytes, *, max_bytes: int) -> bool:
        """Return whether a metric can be added without a drop, both here and in a share of `max_bytes`."""
        max_bytes = min(max_bytes, self._max_bytes)
        if self._interval is not None:
            # How much a summary will grow is not known in advance.
            return 2 * self._interval.size <= max_bytes and 2 * len(self._interval) <= self._max_metrics
        fits = len(self._items) < self._max_metrics and self._bytes + len(body) < max_bytes
        return fits or not self._items

    def _fold(self, interval: Interval, sequence: int, metric: Metric, body: bytes, now: float) -> bool:
        try:
            interval.add(sequence, metric, body)
        except MALFORMED:
            self._loss.add(GapReason.INTERNAL, 1, (metric.metric_type,))
        while interval.size > self._max_bytes or len(interval) > self._max_metrics:
            dropped = interval.drop_oldest()
            if dropped is None:
                break
            self._loss.add(GapReason.PENDING_OVERFLOW, 1, (dropped,))
        if self.due_at is not None:
            return False
        floor = self.last_frame_at + self.delivery.interval_seconds
        self.due_at = floor if floor > now else now + LINGER_SECONDS
        return True

    def _drop_oldest(self) -> None:
        while len(self._items) > self._max_metrics or (self._bytes > self._max_bytes and len(self._items) > 1):
            oldest = self._items.pop(next(iter(self._items)))
            if not self._takes_all:
                self._rows.drop(oldest.metric.kind)
            self._bytes -= size_of(oldest)
            self._loss.add_items(GapReason.PENDING_OVERFLOW, [oldest])

    def _due_after(self, now: float) -> float:
        delivery = self.delivery
        floor = self.last_frame_at + delivery.interval_seconds
        full = len(self._items) >= delivery.batch_size
        due = floor if full else max(floor, self.last_frame_at + delivery.batch_timeout_seconds)
        if due <= now:
            due = now + LINGER_SECONDS
        return due if self.due_at is None else min(self.due_at, due)

    def peek(self) -> Window:
        """Return what is pending, without taking it."""
        interval = self._interval
        items = list(self._items.values()) if interval is None else _items_of(interval, self._start)
        return Window(items, self._start, self.next_sequence, self._loss, self.delivery.mode, interval)

    def take(self, now: float) -> Window:
        """Return what is pending as the window of one frame, and begin the next window."""
        window = self.peek()
        self._items = {}
        self._rows = NewestRows()
        self._bytes = 0
        self._loss = Loss()
        self._start = self.next_sequence
        self._interval = self._new_interval()
        self.last_frame_at = now
        self.due_at = None
        return window


class Share:
    """The metrics that wait for one client that was busy when its view sent frames.

    All are kept up to `max_bytes`. Beyond that the newest for each type, source and row stay, and the others count
    as lost. In mode `aggregate` the summaries of two intervals are not merged.
    """

    def __init__(self, max_bytes: int) -> None:
        self.items: list[Item] = []
        self.loss = Loss()
        self._bytes = 0
        self._max_bytes = max_bytes

    @property
    def is_empty(self) -> bool:
        """Whether neither metrics nor a loss wait."""
        return not self.items and not self.loss.counts

    def add(self, items: list[Item], loss: Loss, mode: Mode) -> None:
        """Add items, which are newer than all that wait, and their loss."""
        self.items = self.items + items
        self._bytes += sum(map(size_of, items))
        self.loss.merge(loss)
        if mode == "latest":
            self._keep(newest(self.items))
        if self._bytes <= self._max_bytes:
            return
        before = self.items
        self._keep(newest(before))
        first = 0
        while self._bytes > self._max_bytes and first < len(self.items) - 1:
            self._bytes -= size_of(self.items[first])
            first += 1
        self.items = self.items[first:]
        kept = set(map(id, self.items))
        self.loss.add_items(GapReason.SLOW_CONSUMER, (item for item in before if id(item) not in kept))

    def _keep(self, items: list[Item]) -> None:
        self.items = items
        self._bytes = sum(map(size_of, items))

    def take(self) -> tuple[list[Item], Loss]:
        """Return all that waits and start empty."""
        taken = self.items, self.loss
        self.items, self.loss, self._bytes = [], Loss(), 0
        return taken


def _items_of(interval: Interval, sequence: int) -> list[Item]:
    return [Item(newest, metric, metric.body) for newest, metric in interval.since(sequence)]


def newest(items: list[Item]) -> list[Item]:
    """Return the items that have the newest of a type and source, or of a row of it, in the order of publishing."""
    by_kind: dict[Kind, Item] = {}
    rows = NewestRows()
    for item in items:
        kind = item.metric.kind
        for replaced in (kind, *rows.put(kind)):
            by_kind.pop(replaced, None)
        by_kind[kind] = item
    return list(by_kind.values())


def size_of(item: Item) -> int:
    """Return the bytes that the item takes in a frame: its JSON and a comma."""
    return len(item.body) + 1
