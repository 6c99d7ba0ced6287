"""What a producer sends over the channel layer: batches of one metric type, numbered and encoded once.

A publication can be sent again unchanged: its number shows the history and the hub that it came before.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.numbering import Numbering
from metrics_stream.core.protocol.positions import Position

# Small enough that a batch never blocks a Redis connection for long, large enough that its overhead does not matter.
MAX_BATCH_METRICS = 500
MAX_BATCH_BYTES = 512 * 1024

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Publication:
    """Metrics of one type, numbered and encoded, ready to be sent; sent several times, they arrive once.

    `owner` is whose share of the history they take, as `HistoryBatch` says.
    """

    metrics: Sequence[Metric]
    payload: bytes
    numbering: ProducerNumbering
    number: int
    owner: str = ""

    @property
    def metric_type(self) -> str:
        """The type of all of them."""
        return self.metrics[0].metric_type

    @property
    def count(self) -> int:
        """The number of metrics."""
        return len(self.metrics)


class ProducerNumbering:
    """The numbers of one producer. For one thread or event loop: send what it prepares in the same order."""

    def __init__(self, producer: str | None = None, known: Position | None = None) -> None:
        """`producer` identifies the producer; None makes a new, unique id."""
        self.turn = asyncio.Lock()
        """Held from `prepare` until the batch is sent, if several tasks share the numbering: connections do not keep
        an order."""
        self.id = producer or uuid.uuid4().hex
        self.known = known
        """The position that the history had when it last took a batch of this producer."""
        self._numbering = Numbering()

    def prepare(self, batch: Sequence[Metric], *, owner: str = "") -> Publication:
        """Return a batch of one metric type (see `batches`) ready to be sent; `owner` as in Publication."""
        number = self._numbering.take(batch[0].metric_type, len(batch))
        return Publication(batch, _encode(batch), self, number, owner)

    def learn(self, metric_type: str, epoch: str, end: int) -> None:
        """Remember that the history of a type has reached the offset `end`."""
        before = self.known.offsets if self.known is not None and self.known.epoch == epoch else {}
        self.known = Position(epoch, {**before, metric_type: end})

    def reach(self, position: Position) -> None:
        """Remember that the history has reached a position; one before `known` changes nothing."""
        known = self.known
        if known is None or known.epoch < position.epoch:
            self.known = position
        elif known.epoch == position.epoch:
            further = {item: offset for item, offset in position.offsets.items() if offset > known.offsets.get(item, 0)}
            self.known = Position(known.epoch, {**known.offsets, **further})


def batches(metrics: Sequence[Metric]) -> Iterable[list[Metric]]:
    """Split metrics into batches of one type, each small enough for one message; keep the order within a type."""
    by_type: dict[str, list[Metric]] = {}
    for metric in metrics:
        by_type.setdefault(metric.metric_type, []).append(metric)
    for items in by_type.values():
        batch: list[Metric] = []
        size = 0
        for item in items:
            if batch and (len(batch) >= MAX_BATCH_METRICS or size + len(item.body) > MAX_BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += len(item.body)
        yield batch
