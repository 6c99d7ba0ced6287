"""When a frame is due and what it holds: the metrics of one view between two frames, and the share of a busy client.

Room: core. No clock: every method that needs an instant takes `now`, in seconds of any one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from metrics_stream.core.codes import GapReason
from metrics_stream.core.metrics import Metric
from metrics_stream.core.protocol import BATCH_SIZE, BATCH_TIMEOUT_SECONDS, INTERVAL_SECONDS, Mode, clamp

# A frame that becomes due by an arriving metric waits this long for what arrives with it: producers publish several
# types at once, and 20 ms are not seen by a person.
LINGER_SECONDS = 0.02

Key = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a client wants its metrics. Hashable: equal wishes share a view."""

    interval_seconds: float = 1.0
    batch_size: int = 10
    batch_timeout_seconds: float = 0.5
    mode: Mode = "all"

    @classmethod
    def clamped(cls, *, interval_seconds: float, batch_size: int, batch_timeout_seconds: float, mode: Mode) -> Delivery:
        """Return a delivery whose numbers were moved into what the protocol allows."""
        return cls(
            clamp(interval_seconds, INTERVAL_SECONDS),
            int(clamp(batch_size, BATCH_SIZE)),
            clamp(batch_timeout_seconds, BATCH_TIMEOUT_SECONDS),
            mode,
        )


class Item(NamedTuple):
    """A metric and what the view's selection left of it. `sequence` counts the view's items since it began."""

    sequence: int
    metric: Metric
    body: bytes


@dataclass(slots=True)
class Loss:
    """What a client does not get, by reason: how many metrics (None where nobody knows), and of which types."""

    counts: dict[GapReason, int | None] = field(default_factory=dict)
    metric_types: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.counts)

    @property
    def known(self) -> int:
        """How many metrics are known to be missing."""
        return sum(count or 0 for count in self.counts.values())

    def add(self, reason: GapReason, count: int | None, metric_types: Iterable[str]) -> None:
        """Count `count` more metrics as lost; None, once said, stays."""
        before = self.counts.get(reason, 0)
        self.counts[reason] = None if count is None or before is None else before + count
        self.metric_types.update(metric_types)

    def add_items(self, reason: GapReason, items: Iterable[Item]) -> None:
        """Count `items` as lost."""
        for item in items:
            self.add(reason, 1, (item.metric.metric_type,))

    def merge(self, other: Loss) -> None:
        """Take in what `other` counted."""
        for reason, count in other.counts.items():
            self.add(reason, count, other.metric_types)


class Window(NamedTuple):
    """What one frame interval gathered, oldest first: the sequences from `start` up to `end`, less the loss."""

    items: list[Item]
    start: int
    end: int
    loss: Loss
    mode: Mode

    def since(self, sequence: int) -> tuple[list[Item], Loss]:
        """Return the part of a client that came at `sequence`: its items, and what of its own was lost."""
        if sequence <= self.start:
            return self.items, self.loss
        items = [item for item in self.items if item.sequence >= sequence]
        loss = Loss()
        # What mode `latest` replaced is not lost, so there only the whole window's loss is known, as an upper bound.
        missing = self.end - sequence - len(items) if self.mode == "all" else self.loss.known
        if missing and self.loss:
            loss.add(GapReason.PENDING_OVERFLOW, missing, self.loss.metric_types)
        return items, loss


class Pending:
    """The metrics of one view since its last frame, bounded in number and bytes; the oldest go first.

    `due_at` is the instant at which the next frame is due, or None while nothing is pending.
    """

    def __init__(
        self, delivery: Delivery, *, max_metrics: int, max_bytes: int, last_frame_at: float = -math.inf
    ) -> None:
        self.delivery = delivery
        self.last_frame_at = last_frame_at
        self.due_at: float | None = None
        self.next_sequence = 0
        self._max_metrics = max_metrics
        self._max_bytes = max_bytes
        self._start = 0
        self._items: dict[int | Key, Item] = {}
        self._bytes = 0
        self._loss = Loss()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, metric: Metric, body: bytes, now: float) -> None:
        """Take one metric in and settle when the next frame is due."""
        latest = self.delivery.mode == "latest"
        key: int | Key = metric.key if latest else self.next_sequence
        if latest and (old := self._items.pop(key, None)) is not None:
            self._bytes -= size_of(old)
        item = self._items[key] = Item(self.next_sequence, metric, body)
        self.next_sequence += 1
        self._bytes += size_of(item)
        while len(self._items) > self._max_metrics or (self._bytes > self._max_bytes and len(self._items) > 1):
            oldest = self._items.pop(next(iter(self._items)))
            self._bytes -= size_of(oldest)
            self._loss.add_items(GapReason.PENDING_OVERFLOW, [oldest])
        self.due_at = self._due_after(now)

    def _due_after(self, now: float) -> float:
        delivery = self.delivery
        floor = self.last_frame_at + delivery.interval_seconds
        full = len(self._items) >= delivery.batch_size
        due = floor if full else max(floor, self.last_frame_at + delivery.batch_timeout_seconds)
        if due <= now:
            due = now + LINGER_SECONDS
        return due if self.due_at is None else min(self.due_at, due)

    def peek(self) -> Window:
        """Return what is pending, and leave it."""
        return Window(list(self._items.values()), self._start, self.next_sequence, self._loss, self.delivery.mode)

    def take(self, now: float) -> Window:
        """Return what is pending as one frame's window, and begin the next."""
        window = self.peek()
        self._items = {}
        self._bytes = 0
        self._loss = Loss()
        self._start = self.next_sequence
        self.last_frame_at = now
        self.due_at = None
        return window


class Share:
    """What waits for one client that could not take part in its view's last frames.

    Kept whole up to `max_bytes`; past that, the newest per type, source and agents, and the rest counted as lost.
    """

    def __init__(self, max_bytes: int) -> None:
        self.items: list[Item] = []
        self.loss = Loss()
        self._bytes = 0
        self._max_bytes = max_bytes

    def __bool__(self) -> bool:
        return bool(self.items or self.loss)

    def add(self, items: list[Item], loss: Loss, mode: Mode) -> None:
        """Take in items, which are newer than all that is here, and what was lost of them."""
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
        """Return all of it and begin anew."""
        taken = self.items, self.loss
        self.items, self.loss, self._bytes = [], Loss(), 0
        return taken


def newest(items: list[Item]) -> list[Item]:
    """Return the newest item per metric type, source and agents, in the order of publishing."""
    by_key: dict[Key, Item] = {}
    for item in items:
        by_key.pop(item.metric.key, None)
        by_key[item.metric.key] = item
    return list(by_key.values())


def size_of(item: Item) -> int:
    """Return what the item takes in a frame: its JSON and a comma."""
    return len(item.body) + 1
