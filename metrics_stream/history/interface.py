"""What a history does: it numbers published metrics, keeps the recent ones, and returns them in order.

Metrics that are published together are one batch, which is kept or dropped as a whole. The bodies of returned metrics
do not contain the test run yet: `tag_runs` adds it from the runs of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self

from metrics_stream.conf import StreamSettings
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.newest_rows import Kind
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.history.accepted import LostReport

# Redis does nothing else while it reads a page: for 10 ms, or for 30 ms if each metric was published alone.
DEFAULT_PAGE_METRICS = 5_000
PAGE_BYTES = 4_000_000


class Bounds(NamedTuple):
    """The most that is kept of each metric type. The newest batch is kept even if it alone is more."""

    seconds: float
    metrics: int
    bytes: int

    @classmethod
    def of(cls, settings: StreamSettings) -> Self:
        """Return the bounds in the settings."""
        return cls(settings.history_seconds, settings.history_metrics, settings.history_bytes)


class ActiveRun(NamedTuple):
    """A test run in progress, and the sources whose metrics belong to it; no sources mean all sources."""

    id: str
    sources: tuple[str, ...] = ()


class Placed(NamedTuple):
    """The place of a batch in the history: the fields of `HistoryBatch` that the history assigns."""

    epoch: str
    first: int
    order: int
    published_at: float
    runs: dict[str, tuple[str, ...]] | None


class Page(NamedTuple):
    """The metrics after a position, or the first part of them.

    `batches` are in the order of publishing and contain nothing at or before the position that was asked for.
    `position` is reached after them. `is_last` says that no further metrics follow, up to `until` or to the end at the
    time of reading. `lost` maps metric types to the number of metrics that were dropped before they could be read, or
    to None if the number is unknown because the position is of another epoch. `position` is beyond the lost metrics:
    no later page reports them again.
    """

    batches: list[HistoryBatch]
    position: Position
    is_last: bool
    lost: dict[str, int | None]


class History(Protocol):
    """The recent past of published metrics. Its methods raise BusError when they fail or take too long."""

    async def append(
        self,
        batch: Sequence[Metric],
        *,
        payload: bytes,
        producer: str,
        number: int,
        known: Position | None,
        owner: str = "",
    ) -> Placed:
        """Keep a batch of one metric type and return its place; `payload` is the batch in MessagePack.

        The numbers of a producer rise, for each metric type. The last number again returns the same place and keeps
        nothing, so that a producer that got no answer can repeat its call; an earlier number is refused.
        `known` is a position that the producer has seen. If the history has not reached it, because it was restored
        from an old copy or a replica took over, its offsets have another meaning than before: a new epoch begins.
        `owner` is that of the batch.
        """

    async def confirm(self, known: Position) -> None:
        """Begin a new epoch if the history has not reached a position that was seen, as `append` does."""

    async def heads(self, metric_types: Iterable[str]) -> Position:
        """Return the position at which the history of these types ends now."""

    async def since(
        self,
        position: Position,
        *,
        until: Position | None = None,
        is_past: bool = False,
        max_metrics: int = DEFAULT_PAGE_METRICS,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """Return the metrics after `position`, of its types, up to `until` if it is given.

        A page exceeds `max_metrics` or `max_bytes` only if it consists of a single batch. After a position of another
        epoch come all metrics that are kept; after one that the history has not reached comes its end.
        With `is_past`, the pages stay in the epoch of `position`: they have what is still kept of it after another one
        has replaced it.
        """

    async def since_time(self, metric_types: Iterable[str], seconds_since_1970: float) -> Position:
        """Return a position before all metrics published at that instant or later, at most a second too early."""

    async def newest(self, metric_types: Iterable[str]) -> list[HistoryBatch]:
        """Return the newest metric of each `Metric.kind`, each as a batch of its own, in the order of publishing.

        One whose rows have all come again in later metrics of other kinds is not among them.

        They are bounded for each source and token, as `newest_kinds` says: beyond it, those that came least recently
        are missing.
        """

    async def oldest_at(self, metric_types: Iterable[str]) -> float | None:
        """Return when the oldest metric that is kept of these types was published; None if none is kept."""

    async def set_active_runs(self, runs: Sequence[ActiveRun]) -> None:
        """Set the runs in progress, in the order of their starts; they apply to metrics published from now on."""

    async def active_runs(self) -> tuple[ActiveRun, ...] | None:
        """Return the runs in progress; None if they were not set since the history began."""

    def note_accepted(self, batch: Sequence[Metric], placed: Placed) -> None:
        """Remember that a batch was accepted, so that its loss can be counted if this epoch is lost."""

    async def lost_reports(self) -> list[LostReport]:
        """Return what producers had accepted in epochs that are over, as far as they have said so."""

    async def drop_lost_reports(self, reports: Sequence[LostReport]) -> None:
        """Forget these reports."""

    async def announce(self, installation: str, gone_seconds: float) -> list[str]:
        """Note that an installation uses this history; return all that did so in the last `gone_seconds`."""

    async def clock(self) -> float:
        """Return the time by the clock of the history, in seconds since 1970."""

    async def close(self) -> None:
        """Close the connections of this event loop; the history can be used again afterwards."""


def runs_of(sources: Iterable[str], active: Sequence[ActiveRun] | None) -> dict[str, tuple[str, ...]] | None:
    """Return the ids of the active runs of each source that has any; None if the active runs are unknown."""
    if active is None:
        return None
    if not active:
        return {}
    found = {source: tuple(run.id for run in active if not run.sources or source in run.sources) for source in sources}
    return {source: ids for source, ids in found.items() if ids}


def newest_of_each_key(metrics: Sequence[Metric]) -> dict[Kind, int]:
    """Return the index of the newest metric of each key, in the order of these metrics."""
    newest: dict[Kind, int] = {}
    for index in range(len(metrics) - 1, -1, -1):
        newest.setdefault(metrics[index].kind, index)
    return dict(reversed(newest.items()))
