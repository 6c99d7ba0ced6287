"""What a `Broadcaster` publishes over: the channel layer (`layer_transport.py`) or HTTP (`http_transport.py`).

Imports nothing but core and `run_block`, so that programs publish over HTTP without Django, Channels and redis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from metrics_stream.broadcast.run_block import RunOptions, RunStore
from metrics_stream.core.metrics.metric import Metric

Timestamp = datetime | float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a parcel that was delivered: how many metrics were refused, and by kind of fault what is wrong."""

    refused: int = 0
    faults: Mapping[str, str] = field(default_factory=dict)


class Batch(Protocol):
    """Metrics that are sent at once; sent several times, they arrive once."""

    @property
    def count(self) -> int:
        """How many they are."""

    async def send(self) -> Outcome:
        """Deliver it; raise BroadcastError when that has to be tried again, NeverTaken when that is no use."""


class Sender(Protocol):
    """What one thread sends over; used on one event loop."""

    def pack(self, metrics: Sequence[Metric]) -> Iterable[Batch]:
        """Split metrics into parcels; those of one type stay in order."""

    async def close(self) -> None:
        """Close what is open."""


class Transport(Protocol):
    """Makes metrics and ways to send them. Safe to use from several threads."""

    linger_seconds: float
    """How long the first metric waits for others that leave with it."""

    @property
    def source(self) -> str:
        """Whose metrics they are that name no source."""

    def check_reach(self) -> None:
        """Raise BroadcastError when nothing published from this process could reach a client."""

    def make_metric(self, metric_type: str, data: object, timestamp: Timestamp, source: str | None) -> Metric:
        """Return the metric that `data` is; raise MetricError naming what is wrong and what is allowed."""

    def begin(self) -> Sender:
        """Return a way to send; it connects when it first sends."""

    def run_store(self, options: RunOptions) -> RunStore:
        """Return where a test run is kept whose metrics go this way; raise RunError."""
