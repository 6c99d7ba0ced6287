"""What a history does: it numbers what is published, keeps the recent past of it, and hands it out again in order.

A batch of metrics that was published at once becomes a stretch, which is kept or dropped as a whole. Nothing that is
handed out has a run in its bodies yet: `tag_runs` puts it there from the runs of the stretch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self

from metrics_stream.conf import StreamSettings
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import HistoryBatch, Position

# Redis does nothing else while it reads a page: 10 ms, or 30 where each metric was published alone.
PAGE_METRICS = 5_000
PAGE_BYTES = 4_000_000

Key = tuple[str, str, tuple[str, ...]]
"""What `Metric.key` is."""


class Bounds(NamedTuple):
    """What is kept of each metric type at most. The newest stretch stays even where it alone is more."""

    seconds: float
    metrics: int
    bytes: int

    @classmethod
    def of(cls, settings: StreamSettings) -> Self:
        """Return what the settings say."""
        return cls(settings.history_seconds, settings.history_metrics, settings.history_bytes)


class ActiveRun(NamedTuple):
    """A test run that is going on, and the sources whose metrics belong to it; none named means every one."""

    id: str
    sources: tuple[str, ...] = ()


class Placed(NamedTuple):
    """Where a batch stands in the history: the fields of `Stretch` that the history gives it."""

    epoch: str
    first: int
    order: int
    published_at: float
    runs: dict[str, tuple[str, ...]]


class Page(NamedTuple):
    """What came after a position, or the first part of it.

    `stretches` are in the order of publishing, and hold nothing at or before the position that was asked for.
    `position` is reached when they are taken. `is_last` says that nothing is left behind it, up to `until` or to what
    was known when it was read. `lost` names the types of which something was gone: how many metrics, or None where that
    cannot be known because the position is from another epoch. They count as passed: no other page names them again.
    """

    batches: list[HistoryBatch]
    position: Position
    is_last: bool
    lost: dict[str, int | None]


class History(Protocol):
    """The recent past of what is published. Its methods raise BusError when they fail or take too long."""

    async def append(
        self, batch: Sequence[Metric], *, payload: bytes, producer: str, number: int, known: Position | None
    ) -> Placed:
        """Keep a batch of one metric type, and return where it stands; `payload` is the batch in MessagePack.

        The numbers of a producer rise, by metric type. The last one once more returns the same place and keeps
        nothing, so that a producer that got no answer can ask again; an earlier one is refused.
        `known` is a place that the producer has seen. When the history has not come that far, since it was restored
        from an old copy or a replica took over, places would mean something else than before: a new epoch begins.
        """

    async def heads(self, metric_types: Iterable[str]) -> Position:
        """Return where the history of these types ends now."""

    async def since(
        self,
        position: Position,
        *,
        until: Position | None = None,
        max_metrics: int = PAGE_METRICS,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """Return what came after `position`, of its types, and up to `until` if that is given.

        A page has one stretch more than `max_metrics` or `max_bytes` allow only when it has no other. A position of
        another epoch is followed by all that is kept, and one that the history has not reached by its end.
        """

    async def since_time(self, metric_types: Iterable[str], seconds_since_1970: float) -> Position:
        """Return a place before everything that was published at that instant or later, at most a second too early."""

    async def newest(self, metric_types: Iterable[str]) -> list[HistoryBatch]:
        """Return the newest metric of each `Metric.key`, each in a stretch of its own, in the order of publishing."""

    async def oldest_at(self, metric_types: Iterable[str]) -> float | None:
        """Return when the oldest was published that is kept of these types; None when nothing is."""

    async def set_active_runs(self, runs: Sequence[ActiveRun]) -> None:
        """Say which runs are going on, the one that was started last at the end, for what is published from now on."""

    async def active_runs(self) -> tuple[ActiveRun, ...]:
        """Return which runs are going on."""

    async def close(self) -> None:
        """Close what this event loop has open; harmless when nothing is, and usable again afterwards."""


def runs_of(sources: Iterable[str], active: Sequence[ActiveRun]) -> dict[str, tuple[str, ...]]:
    """Return the ids of the active runs of each source that has any."""
    if not active:
        return {}
    found = {source: tuple(run.id for run in active if not run.sources or source in run.sources) for source in sources}
    return {source: ids for source, ids in found.items() if ids}


def newest_of_each_key(metrics: Sequence[Metric]) -> dict[Key, int]:
    """Return the index of the newest metric of each key, in the order of these metrics."""
    newest: dict[Key, int] = {}
    for index in range(len(metrics) - 1, -1, -1):
        newest.setdefault(metrics[index].key, index)
    return dict(reversed(newest.items()))
