"""Publishing over the channel layer, for programs that have Django's settings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metrics_stream.broadcast.run_block import RunOptions, RunStore
from metrics_stream.broadcast.transport import Batch, Outcome, Sender, Timestamp
from metrics_stream.bus.bus import Bus
from metrics_stream.bus.publication import ProducerNumbering, Publication, batches
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BroadcastError, BusError, MetricError
from metrics_stream.core.metrics.encoding import encode_metric, epoch_seconds
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import open_history


def make_metric(metric_type: str, data: object, timestamp: Timestamp = None, source: str | None = None) -> Metric:
    """Return the metric that `data` is, encoded; raise MetricError naming what is wrong and what is allowed."""
    settings = get_settings()
    types = settings.catalogue().types
    if metric_type not in types:
        raise MetricError(f"unknown metric type {metric_type!r}; allowed: {', '.join(types)}")
    return encode_metric(
        types[metric_type],
        data,
        timestamp=epoch_seconds(timestamp, time.time()),
        source=settings.source if source is None else source,
        max_bytes=settings.max_metric_bytes,
    )


async def publish(metrics: Sequence[Metric]) -> None:
    """Publish metrics from the running event loop; raise BroadcastError when the channel layer does not take them."""
    try:
        await _bus().publish(metrics)
    except BusError as error:
        raise BroadcastError(str(error)) from error


def _bus() -> Bus:
    settings = get_settings()
    try:
        return Bus(
            group_prefix=settings.group_prefix,
            timeout_seconds=settings.bus_timeout_seconds,
            history=open_history(settings),
        )
    except BusError as error:
        raise BroadcastError(str(error)) from error


class LayerTransport:
    """Publishes over the channel layer of the settings, whichever that is when something leaves."""

    linger_seconds = 0.01

    @property
    def source(self) -> str:
        """The setting SOURCE."""
        return get_settings().source

    def check_reach(self) -> None:
        """Raise BroadcastError when the channel layer is in the memory of another process."""
        try:
            _bus().check_reach()
        except BusError as error:
            raise BroadcastError(str(error)) from error

    def make_metric(self, metric_type: str, data: object, timestamp: Timestamp, source: str | None) -> Metric:
        """Return the metric that `data` is."""
        return make_metric(metric_type, data, timestamp, source)

    def begin(self) -> Sender:
        """Return a way with numbers of its own."""
        return _LayerSender()

    def run_store(self, options: RunOptions) -> RunStore:
        """Return the database."""
        # Programs that only publish need neither models nor a database, and may begin before Django is set up.
        from metrics_stream.broadcast.database_runs import DatabaseRunStore

        return DatabaseRunStore(options)


class _LayerSender:
    def __init__(self) -> None:
        self._numbering = ProducerNumbering()

    def pack(self, metrics: Sequence[Metric]) -> Iterable[Batch]:
        return (_LayerBatch(self._numbering.prepare(batch)) for batch in batches(metrics))

    async def close(self) -> None:
        """Do nothing: the connections of a loop end with it."""


@dataclass(frozen=True, slots=True)
class _LayerBatch:
    publication: Publication

    @property
    def count(self) -> int:
        return self.publication.count

    async def send(self) -> Outcome:
        try:
            await _bus().send(self.publication)
        except BusError as error:
            raise BroadcastError(str(error)) from error
        return Outcome()
