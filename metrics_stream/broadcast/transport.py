"""What a `Broadcaster` publishes over: the channel layer (`layer.py`) or HTTP (`http.py`).

Imports only core and `run_block`, so that programs publish over HTTP without Django, Channels and redis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NotRequired, Protocol, TypedDict, Unpack

from metrics_stream.broadcast.run_block import RunOptions, RunStore
from metrics_stream.core.metrics.annotations import Beside
from metrics_stream.core.metrics.metric import Metric

Timestamp = datetime | date | str | float | None
"""What `core.instants.read_instant` accepts; None means now."""


class MetricInput(TypedDict):
    """One metric as `broadcast_many` accepts it."""

    metric_type: str
    data: Any
    timestamp: NotRequired[Timestamp]
    source: NotRequired[str | None]
    units: NotRequired[Mapping[str, str] | None]
    windows: NotRequired[Mapping[str, float] | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a batch that was delivered: how many metrics were refused, and a message for each kind of fault."""

    refused: int = 0
    faults: Mapping[str, str] = field(default_factory=dict)


class Batch(Protocol):
    """Metrics that are sent together; sent several times, they arrive once."""

    @property
    def count(self) -> int:
        """Return the number of metrics."""

    async def send(self) -> Outcome:
        """Deliver the batch; raise BroadcastError when it must be sent again, RejectedError when that is no use."""


class Sender(Protocol):
    """What one thread sends with; it belongs to one event loop."""

    def pack(self, metrics: Sequence[Metric]) -> Iterable[Batch]:
        """Split metrics into batches; those of one type stay in order."""

    async def close(self) -> None:
        """Close the connections."""


class Transport(Protocol):
    """Makes metrics and opens senders. Safe to use from several threads."""

    linger_seconds: float
    """How long the first metric waits for others to be sent with it."""

    @property
    def source(self) -> str:
        """Return the source of metrics that name none."""

    def check_reach(self) -> None:
        """Raise BroadcastError when nothing published from this process could reach a client."""

    def make_metric(
        self, metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]
    ) -> Metric:
        """Return `data` as an encoded metric; raise MetricError naming what is wrong and what is allowed."""

    def make_metrics(
        self, metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]
    ) -> list[Metric]:
        """Return `data` as one metric, or a large set of rows as several that are small enough; raise MetricError."""

    def open_sender(self) -> Sender:
        """Return a sender; it connects when it first sends."""

    def run_store(self, options: RunOptions) -> RunStore:
        """Return the store of a test run whose metrics are published here; raise RunError."""
