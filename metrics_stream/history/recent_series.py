"""The recent past as columns, folded from the history as it grows.

Folding all that is kept takes seconds. So it is done once for all clients, and ahead of their requests. A metric type
that no client has had for as long as the history keeps metrics is not folded ahead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable

from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import Position
from metrics_stream.core.series.columns import SeriesColumns, permitted_series
from metrics_stream.core.series.folding import Folder
from metrics_stream.history import History
from metrics_stream.pacing import Pace

logger = logging.getLogger(__name__)

SERIES_PAGE_METRICS = 2_000

# More than any dashboard shows; with 15 minutes of each, 150 MB.
MAX_SERIES = 5_000


class RecentSeries:
    """The series of the metrics that the history keeps, for all clients of one process."""

    def __init__(
        self,
        history: History,
        seconds: float,
        metric_types: Iterable[str],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """The history keeps metrics for `seconds`, and may have metrics of `metric_types`."""
        self._history = history
        self._seconds = seconds
        self._now = now
        # A server that has just started does not know which types its returning clients will request.
        self._wanted_at = dict.fromkeys(metric_types, now())
        self._turn = asyncio.Lock()
        self._begin_epoch("", ())

    async def series(self, selection: Selection, since: float, until: float, max_points: int) -> list[SeriesColumns]:
        """Return the series of a selection between two instants, in seconds since 1970, as far as they are kept."""
        self._note_wanted(selection.metric_types)
        await self._fold(selection.metric_types)
        each = self._folder.each_series(
            since=max(since, time.time() - self._seconds),
            until=until,
            metric_types=selection.metric_types,
            filters=selection.filters,
            max_points=max_points,
        )
        found, pace = [], Pace()
        for one in each:
            found.append(one)
            await pace.pause_if_due()
        return permitted_series(found, selection.permit)

    def left_out(self, selection: Selection) -> tuple[str, ...]:
        """Return the metric types of a selection of which some series that it includes may be left out."""
        filters, permit = selection.filters, selection.permit
        found = {
            metric_type
            for metric_type, source in self._folder.left_out
            if metric_type in selection.metric_types
            and (not filters.sources or source in filters.sources)
            and permit.covers(metric_type, source)
        }
        return tuple(item for item in selection.metric_types if item in found)

    async def keep_up(self, wanted: Collection[str]) -> None:
        """Fold what was published since the last call; `wanted` are the metric types that clients have now.

        A type is folded ahead if some client had it, or the process started, within the time that the history keeps.
        So a page that is reloaded does not wait. Other types are folded when a client requests their series.
        """
        self._note_wanted(wanted)
        oldest = self._now() - self._seconds
        await self._fold([item for item, at in self._wanted_at.items() if at >= oldest])

    def _note_wanted(self, metric_types: Iterable[str]) -> None:
        self._wanted_at.update(dict.fromkeys(metric_types, self._now()))

    def _begin_epoch(self, epoch: str, metric_types: Iterable[str]) -> None:
        self._epoch = epoch
        self._offsets: dict[str, int] = dict.fromkeys(metric_types, 0)
        self._folder = Folder(max_series=MAX_SERIES)
        self._marks = ClockMarks()
        self._expired_until = -1  # the first bucket that is kept
        self._waiting: deque[tuple[Metric, str]] = deque()  # read, and still to be folded
        self._is_overflow_logged = False

    async def _fold(self, metric_types: Iterable[str]) -> None:
        distinct = dict.fromkeys(metric_types)
        is_last = not distinct
        while not is_last:
            # One page at a time, so that a request for little does not wait for everything that is folded ahead.
            async with self._turn:
                is_last = await self._fold_page(distinct)
        await self._drop_expired()

    async def _fold_page(self, metric_types: Collection[str]) -> bool:
        """Fold one page of the history; return whether it was the last one."""
        await self._add_waiting()
        position = Position(self._epoch or "0", {item: self._offsets.get(item, 0) for item in metric_types})
        page = await self._history.since(position, max_metrics=SERIES_PAGE_METRICS)
        if page.position.epoch != self._epoch:
            self._begin_epoch(page.position.epoch, metric_types)
        self._offsets.update(page.position.offsets)
        self._waiting.extend(
            (metric, batch.owner) for batch in page.batches for metric in self._marks.mark_next(batch).metrics
        )
        await self._add_waiting()
        if self._folder.left_out and not self._is_overflow_logged:
            self._is_overflow_logged = True
            logger.warning(
                "the recent past has more than %s series (fields of a metric type, source and agent); charts that are "
                "opened now lack the last ones of the token or source that has most, until older ones end",
                f"{MAX_SERIES:,}",
            )
        return page.is_last

    async def _drop_expired(self) -> None:
        folder, pace = self._folder, Pace()
        end = folder.bucket_of(time.time() - self._seconds)
        if end == self._expired_until:
            return
        self._expired_until = end
        for key in folder.keys:
            folder.drop(key, 0, end)
            await pace.pause_if_due()
        folder.forget_left_out(end)

    async def _add_waiting(self) -> None:
        # A request that is cancelled leaves the rest of its page to the next one: nothing is missed or folded twice.
        pace = Pace()
        while self._waiting:
            self._folder.add(*self._waiting.popleft())
            await pace.pause_if_due()
