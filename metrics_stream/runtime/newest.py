"""The newest metric of each kind, read once for all clients that ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from weakref import WeakValueDictionary

from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.protocol.positions import Position, tag_runs
from metrics_stream.history import History
from metrics_stream.hub.past import PastPage
from metrics_stream.pacing import Pace
from metrics_stream.runtime.run_sources import RunSources
from metrics_stream.runtime.runtime import PerRuntime

# What is sent at once: a frame that any client can take, and that delays the others by no noticeable time.
PAGE_METRICS = 1_000
PAGE_BYTES = 500_000


class Newest:
    """The newest metric of each kind of some metric types at one time, in pages that clients share."""

    def __init__(self, read_at: int, metrics: Sequence[tuple[str, int, Metric]]) -> None:
        """`metrics` have the epoch and the offset behind each, in the order of publishing."""
        self.read_at = read_at
        self._pages = list(_pages(metrics))

    @property
    def metrics(self) -> list[Metric]:
        """All of them."""
        return [metric for _, page in self._pages for metric in page.metrics]

    def pages_until(self, until: Position) -> Iterable[PastPage]:
        """Yield pages of what was published before a position, of its types; a page is shared if it is whole."""
        for ends, page in self._pages:
            kept = [
                metric
                for (epoch, end), metric in zip(ends, page.metrics, strict=True)
                if epoch == until.epoch and end <= until.offsets.get(metric.metric_type, 0)
            ]
            if kept:
                yield page if len(kept) == len(page.metrics) else PastPage(kept)


def _pages(metrics: Sequence[tuple[str, int, Metric]]) -> Iterable[tuple[list[tuple[str, int]], PastPage]]:
    ends: list[tuple[str, int]] = []
    page: list[Metric] = []
    size = 0
    for epoch, end, metric in metrics:
        if page and (len(page) >= PAGE_METRICS or size + len(metric.body) > PAGE_BYTES):
            yield ends, PastPage(page)
            ends, page, size = [], [], 0
        ends.append((epoch, end))
        page.append(metric)
        size += len(metric.body)
    if page:
        yield ends, PastPage(page)


# The metric types, and whether the readers may see all runs.
_Key = tuple[frozenset[str], bool]


class NewestReader:
    """Reads the newest metrics for all clients of one process. Nothing is kept when no client uses it any more."""

    def __init__(self, history: History | None, run_sources: RunSources, marks: ClockMarks) -> None:
        """Without a history there are no newest metrics."""
        self._history = history
        self._run_sources = run_sources
        self._marks = marks
        self._calls = 0
        self._latest: WeakValueDictionary[_Key, Newest] = WeakValueDictionary()
        self._turns: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()

    async def read(self, metric_types: Iterable[str], permit: Permit) -> Newest:
        """Return the newest metrics of some types, read after this call; raise BusError.

        They are tagged with their runs; for a permit that shows only some runs, the sources of the runs are looked up.
        Of many calls at the same time only two read: the first, and one for all those that came while it did.
        """
        types = frozenset(metric_types)
        key = (types, permit.runs is None)
        self._calls += 1
        call = self._calls
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            found = self._latest.get(key)
            if found is None or found.read_at < call:
                read_at = self._calls
                batches = [] if self._history is None else await self._history.newest(sorted(types))
                await self._run_sources.learn(batches, permit)
                sources_of, pace = self._run_sources.get, Pace()
                metrics = []
                for batch in batches:
                    tagged = tag_runs(self._marks.mark(batch), sources_of)
                    metrics += [(batch.epoch, batch.end, item) for item in tagged]
                    await pace.pause_if_due()
                found = Newest(read_at, metrics)
                self._latest[key] = found
            return found


# Called with a runtime; the first client makes it.
newest_reader_of = PerRuntime(lambda runtime: NewestReader(runtime.history, runtime.run_sources, runtime.clocks.marks))
