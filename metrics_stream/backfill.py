"""What came before as columns: folded from the history as it grows, and sent in parts that keep no live frame waiting.

Folding all that is kept takes seconds, so it is done once for all clients, and only from when the first one asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from metrics_stream.audience import Client
from metrics_stream.core.columns import SeriesColumns, permitted_series
from metrics_stream.core.folding import Folder
from metrics_stream.core.metrics import Metric
from metrics_stream.core.positions import Position
from metrics_stream.core.protocol import Backfill, Series, encode, format_timestamp
from metrics_stream.core.selection import Selection
from metrics_stream.core.shared_text import SharedText
from metrics_stream.history import History
from metrics_stream.hub import Hub

# Columns of so many values go into one message: some 50 kB, which any client takes while live frames go on.
MAX_MESSAGE_VALUES = 4_000

# Folded in one go, between which the event loop does other things: about 3 ms.
SLICE_METRICS = 200
PAGE_METRICS = 2_000

# More than any dashboard shows; with 15 minutes of each, 150 MB.
MAX_SERIES = 5_000


class RecentSeries:
    """The series of what the history keeps, for all clients of one process."""

    def __init__(self, history: History, seconds: float) -> None:
        """`seconds` is how long the history keeps metrics."""
        self._history = history
        self._seconds = seconds
        self._epoch = ""
        self._offsets: dict[str, int] = {}
        self._folder = Folder(max_series=MAX_SERIES)
        self._asked_at = 0.0
        self._turn = asyncio.Lock()

    async def series(self, selection: Selection, since: float, until: float, max_points: int) -> list[SeriesColumns]:
        """Return what a selection has between two instants, in seconds since 1970, as far as it is kept."""
        self._asked_at = time.monotonic()
        await self._fold(selection.metric_types)
        found = self._folder.series(
            since=max(since, time.time() - self._seconds),
            until=until,
            metric_types=selection.metric_types,
            filters=selection.filters,
            max_points=max_points,
        )
        return permitted_series(found, selection.permit)

    async def keep_up(self, wanted: Collection[str]) -> None:
        """Fold what was published since of the metric types that clients have; forget everything when none has asked.

        Of types that no client has, the rest is folded when one asks.
        """
        if not self._offsets:
            return
        if time.monotonic() - self._asked_at > self._seconds:
            self._begin("", ())
        elif followed := [item for item in self._offsets if item in wanted]:
            await self._fold(followed)

    def _begin(self, epoch: str, metric_types: Iterable[str]) -> None:
        self._epoch = epoch
        self._offsets = dict.fromkeys(metric_types, 0)
        self._folder = Folder(max_series=MAX_SERIES)

    async def _fold(self, metric_types: Iterable[str]) -> None:
        asked = dict.fromkeys(metric_types)
        async with self._turn:
            is_last = not asked
            while not is_last:
                position = Position(self._epoch or "0", {item: self._offsets.get(item, 0) for item in asked})
                page = await self._history.since(position, max_metrics=PAGE_METRICS)
                if page.position.epoch != self._epoch:
                    self._begin(page.position.epoch, asked)
                self._offsets.update(page.position.offsets)
                await self._take([metric for stretch in page.stretches for metric in stretch.metrics])
                is_last = page.is_last
            self._folder.forget_before(time.time() - self._seconds)

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
        for metric in metrics:
            self._folder.add(metric)


async def idle(client: Client) -> None:
    """Wait until nothing that was written to the client is on its way; of several that wait, one goes on each time."""
    while client.busy_since is not None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(done: asyncio.Future[None] = done) -> None:
            if not done.done():
                done.set_result(None)

        client.on_idle.append(wake)
        await done
        # What is live goes first.
        await asyncio.sleep(0)


async def send_backfill(
    client: Client,
    hub: Hub,
    series: Sequence[SeriesColumns],
    metric_types: tuple[str, ...],
    *,
    since: float,
    until: float,
) -> None:
    """Send series to one client, and at the end that they are all."""
    parts = list(_parts(series)) or [[]]
    for number, part in enumerate(parts, 1):
        first = part[0] if part else None
        message = Backfill(
            metric_types=metric_types,
            from_=format_timestamp(first.starts_at if first is not None else since),
            until=format_timestamp(until),
            bucket_seconds=first.bucket_seconds if first is not None else 1.0,
            series=[_as_message(item) for item in part],
            done=number == len(parts),
        )
        await idle(client)
        hub.write_text(client, SharedText(encode(message).encode()))
        await asyncio.sleep(0)


def _parts(series: Sequence[SeriesColumns]) -> Iterable[list[SeriesColumns]]:
    part: list[SeriesColumns] = []
    values = 0
    for item in series:
        size = 4 * len(item.buckets)
        if part and (values + size > MAX_MESSAGE_VALUES or _grid(item) != _grid(part[0])):
            yield part
            part, values = [], 0
        part.append(item)
        values += size
    if part:
        yield part


def _grid(item: SeriesColumns) -> tuple[float, float]:
    return item.starts_at, item.bucket_seconds


def _as_message(item: SeriesColumns) -> Series:
    extremes: dict[str, Any] = {}
    if item.min != item.last or item.max != item.last:
        extremes = {"min": item.min, "max": item.max}
    return Series(
        metric_type=item.metric_type,
        source=item.source,
        agent_id=item.agent_id,
        field=item.field,
        buckets=item.buckets,
        last=item.last,
        **extremes,
    )
