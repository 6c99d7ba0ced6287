"""Publish over the channel layer, for programs that have Django's settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar, Unpack

from metrics_stream.broadcast.run_block import RunOptions, RunStore
from metrics_stream.broadcast.transport import Batch, Outcome, Sender, Timestamp
from metrics_stream.bus.bus import Bus
from metrics_stream.bus.publication import ProducerNumbering, Publication, batches
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BroadcastError, BusError, MetricError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.annotations import Beside
from metrics_stream.core.metrics.encoding import encode_metric, encode_metrics, epoch_seconds
from metrics_stream.core.metrics.items import slug_of
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import open_history


def make_metric(metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> Metric:
    """Return `data` as an encoded metric; raise MetricError naming what is wrong and what is allowed."""
    return _encode(encode_metric, metric_type, data, timestamp, beside)


def make_metrics(metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> list[Metric]:
    """Return `data` as one metric, or a large set of rows as several; raise MetricError."""
    return _encode(encode_metrics, metric_type, data, timestamp, beside)


T = TypeVar("T")


def _encode(encode: Callable[..., T], metric_type: str, data: object, timestamp: Timestamp, beside: Beside) -> T:
    settings = get_settings()
    types = settings.catalogue().types
    known = types.get(slug_of(metric_type) or "")
    if known is None:
        raise MetricError(f"unknown metric type {quote(metric_type)}; allowed: {', '.join(types)}")
    source = beside.get("source")
    return encode(
        known,
        data,
        timestamp=epoch_seconds(timestamp, time.time()),
        source=settings.source if source is None else source,
        max_bytes=settings.max_metric_bytes,
        units=beside.get("units"),
        windows=beside.get("windows"),
    )


async def publish(metrics: Sequence[Metric]) -> None:
    """Publish metrics from the running event loop; raise BroadcastError when the channel layer does not accept them."""
    try:
        await _open_bus().publish(metrics)
    except BusError as error:
        raise BroadcastError(str(error)) from error


def _open_bus() -> Bus:
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
    """Publishes over the channel layer that the settings name at the time of sending."""

    linger_seconds = 0.01

    @property
    def source(self) -> str:
        """Return the setting SOURCE."""
        return get_settings().source

    def check_reach(self) -> None:
        """Raise BroadcastError when the channel layer is in the memory of another process."""
        try:
            _open_bus().check_reach()
        except BusError as error:
            raise BroadcastError(str(error)) from error

    def make_metric(
        self, metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]
    ) -> Metric:
        """Return `data` as an encoded metric."""
        return make_metric(metric_type, data, timestamp, **beside)

    def make_metrics(
        self, metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]
    ) -> list[Metric]:
        """Return `data` as one metric or more."""
        return make_metrics(metric_type, data, timestamp, **beside)

    def open_sender(self) -> Sender:
        """Return a sender that numbers its own publications."""
        return _LayerSender()

    def run_store(self, options: RunOptions) -> RunStore:
        """Return a store in the database."""
        # Programs that only publish need neither models nor a database, and may start before Django is set up.
        from metrics_stream.broadcast.database_runs import DatabaseRunStore

        return DatabaseRunStore(options)


class _LayerSender:
    def __init__(self) -> None:
        self._numbering = ProducerNumbering()

    def pack(self, metrics: Sequence[Metric]) -> Iterable[Batch]:
        return (_LayerBatch(self._numbering.prepare(batch)) for batch in batches(metrics))

    async def close(self) -> None:
        """Do nothing: the connections of an event loop end with it."""


@dataclass(frozen=True, slots=True)
class _LayerBatch:
    publication: Publication

    @property
    def count(self) -> int:
        return self.publication.count

    async def send(self) -> Outcome:
        try:
            await _open_bus().send(self.publication)
        except BusError as error:
            raise BroadcastError(str(error)) from error
        return Outcome()
