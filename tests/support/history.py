"""Histories, and a producer that fills them with numbered metrics."""

import itertools
import uuid

import msgspec

from metrics_stream.core.metrics.keys import AGENT_KEY, agent_row
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.history import Bounds, History, Page, Placed
from metrics_stream.history.redis import RedisHistory

MANY = Bounds(900.0, 200_000, 100_000_000)
"""Bounds that no test reaches by accident."""


def redis_history(
    url: str, bounds: Bounds = MANY, *, prefix: str | None = None, timeout_seconds: float = 5.0
) -> RedisHistory:
    """Return a history in a Redis, under a prefix of its own unless one is given."""
    prefix = prefix or f"test_{uuid.uuid4().hex}"
    return RedisHistory({"address": url}, bounds=bounds, prefix=prefix, timeout_seconds=timeout_seconds)


def metric(number: int, metric_type: str = "system", source: str = "host", agent_ids: tuple[str, ...] = ()) -> Metric:
    """Return a metric with a number, which is also its timestamp."""
    body = msgspec.json.encode({"metric_type": metric_type, "source": source, "data": {"n": number}})
    rows = tuple(map(agent_row, agent_ids))
    return Metric(metric_type, source, float(number), rows, body, AGENT_KEY if rows else ())


class Producer:
    """Publishes metrics whose timestamps count up."""

    def __init__(self, history: History, metric_type: str = "system", source: str = "host", owner: str = "") -> None:
        self.owner = owner
        self.history = history
        self.metric_type = metric_type
        self.source = source
        self.id = uuid.uuid4().hex
        self.known: Position | None = None
        self.number = 0
        self.timestamps = itertools.count()

    def metrics(self, count: int) -> list[Metric]:
        """Return the next metrics, without publishing them."""
        return [metric(next(self.timestamps), self.metric_type, self.source) for _ in range(count)]

    async def publish(self, count: int = 1) -> Placed:
        """Publish the next metrics as one batch."""
        return await self.send(self.metrics(count))

    async def send(self, batch: list[Metric], number: int | None = None) -> Placed:
        """Publish a batch, by default with the next number."""
        if number is None:
            number = self.number = self.number + 1
        return await self.history.append(
            batch,
            payload=msgspec.msgpack.encode(batch),
            producer=self.id,
            number=number,
            known=self.known,
            owner=self.owner,
        )


def timestamps(batches: list[HistoryBatch]) -> list[int]:
    """Return the numbers of all metrics in batches."""
    return [int(item.timestamp) for batch in batches for item in batch.metrics]


async def start(history: History, *metric_types: str) -> Position:
    """Return the position before everything, by default of system metrics."""
    epoch = (await history.heads(())).epoch
    return Position(epoch, dict.fromkeys(metric_types or ("system",), 0))


async def read(history: History, position: Position, **options) -> list[Page]:
    """Return all pages from a position on."""
    pages = [await history.since(position, **options)]
    while not pages[-1].is_last:
        pages.append(await history.since(pages[-1].position, **options))
    return pages
