"""The recent past as columns, folded from the history as it grows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable

from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import Position
from metrics_stream.core.series.columns import SeriesColumns, permitted_series
from metrics_stream.core.series.folding import Folder
from metrics_stream.history import History

logger = logging.getLogger(__name__)

# Folded in one go, between which the event loop does other things: about 3 ms.
SLICE_METRICS = 200
PAGE_METRICS = 2_000

# The same for what is not counted in metrics.
SLICE_SECONDS = 0.003

# More than any dashboard shows; with 15 minutes of each, 150 MB.
MAX_SERIES = 5_000


class RecentSeries:
    """The series of what the history keeps, for all clients of one process."""

    def __init__(
        self,
        history: History,
        seconds: float,
        metric_types: Iterable[str],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds` is how long the history keeps metrics, and `metric_types` are those that it may have."""
        self._history = history
        self._seconds = seconds
        self._now = now
        # A server that was just started knows nothing of who will come back to it.
        self._wanted_at = dict.fromkeys(metric_types, now())
        self._turn = asyncio.Lock()
        self._begin("", ())

    async def series(self, selection: Selection, since: float, until: float, max_points: int) -> list[SeriesColumns]:
        """Return what a selection has between two instants, in seconds since 1970, as far as it is kept."""
        self._want(selection.metric_types)
        await self._fold(selection.metric_types)
        asked = self._folder.each_series(
            since=max(since, time.time() - self._seconds),
            until=until,
            metric_types=selection.metric_types,
            filters=selection.filters,
            max_points=max_points,
        )
        found, pace = [], _Pace()
        for one in asked:
            found.append(one)
            await pace.keep()
        return permitted_series(found, selection.permit)

    async def keep_up(self, wanted: Collection[str]) -> None:
        """Fold what was published since, `wanted` being the metric types that clients have now.

        A type is folded ahead as long as some client had it within the time that the history keeps, so that a page
        that is reloaded waits for nothing, and for as long after the start. Of others the rest is folded when one asks.
        """
        self._want(wanted)
        oldest = self._now() - self._seconds
        await self._fold([item for item, at in self._wanted_at.items() if at >= oldest])

    def _want(self, metric_types: Iterable[str]) -> None:
        self._wanted_at.update(dict.fromkeys(metric_types, self._now()))

    def _begin(self, epoch: str, metric_types: Iterable[str]) -> None:
        self._epoch = epoch
        self._offsets: dict[str, int] = dict.fromkeys(metric_types, 0)
        self._folder = Folder(max_series=MAX_SERIES)
        self._is_overflow_told = False

    async def _fold(self, metric_types: Iterable[str]) -> None:
        asked = dict.fromkeys(metric_types)
        is_last = not asked
        while not is_last:
            # One page in turn, so that who asks for little does not wait for all that is folded ahead.
            async with self._turn:
                is_last = await self._fold_page(asked)
        await self._forget()

    async def _fold_page(self, metric_types: Collection[str]) -> bool:
        """Fold a page in; return whether it was the last one."""
        position = Position(self._epoch or "0", {item: self._offsets.get(item, 0) for item in metric_types})
        page = await self._history.since(position, max_metrics=PAGE_METRICS)
        if page.position.epoch != self._epoch:
            self._begin(page.position.epoch, metric_types)
        self._offsets.update(page.position.offsets)
        await self._take([metric for batch in page.batches for metric in batch.metrics])
        if self._folder.is_full and not self._is_overflow_told:
            self._is_overflow_told = True
            logger.warning(
                "the recent past has more than %s series (fields of a metric type, source and agent); charts that are "
                "opened lack those that came last, until older ones end",
                f"{MAX_SERIES:,}",
            )
        return page.is_last

    async def _forget(self) -> None:
        folder, pace = self._folder, _Pace()
        end = folder.bucket_of(time.time() - self._seconds)
        for key in folder.keys:
            folder.drop(key, 0, end)
            await pace.keep()

    async def _take(self, metrics: list[Metric]) -> None:
        taken = 0
        try:
            while taken < len(metrics):
                self._add(metrics[taken : taken + SLICE_METRICS])
                taken += SLICE_METRICS
                await asyncio.sleep(0)
        finally:
            # Who asked may be gone in the middle of a page: the others miss nothing of it, and have nothing twice.
            self._add(metrics[taken:])

    def _add(self, metrics: Iterable[Metric]) -> None:
        # What a clock that is hours ahead has measured would be held until then.
        latest = time.time() + self._seconds
        for metric in metrics:
            if metric.timestamp <= latest:
                self._folder.add(metric)


class _Pace:
    """Lets the event loop do other things whenever it was kept for long enough."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def keep(self) -> None:
        if time.perf_counter() - self._since >= SLICE_SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
