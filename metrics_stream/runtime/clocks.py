"""Compare clocks: that of this server with those of the database and of Redis, and those of producers with arrival.

Test runs use the clock of the database alone. But charts, ages and timestamps come from the clocks of servers and
producers, and a viewer cannot see that one of them is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from channels.db import database_sync_to_async
from django.db import DatabaseError

from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.errors import BusError
from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import History
from metrics_stream.observation.faults import FaultKind
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runs.clock import database_seconds

logger = logging.getLogger(__name__)

# How often the clocks are compared. One that is set wrong while servers run is noticed after this time.
COMPARE_SECONDS = 30.0
# A clock that is wrong by more than this is a fault; the service promises ages below it.
MAX_SKEW_SECONDS = 2.0
# The same for sources: batches and slow networks delay metrics by seconds.
MAX_SOURCE_SKEW_SECONDS = 5.0
# A source is judged by its quickest metric of this time: what comes late says nothing about a clock.
SOURCE_SECONDS = 60.0
MAX_SOURCES = 1_000

_database_seconds = database_sync_to_async(database_seconds, thread_sensitive=False)


class Clocks:
    """How far other clocks are from the clock of this server; positive: this server is ahead."""

    def __init__(self, history: History | None) -> None:
        self.skew_seconds: dict[str, float] = {}
        """By `database` and `redis`; what could not be compared is missing."""
        self.sources = SourceClocks()
        self.marks = ClockMarks()
        """Which sources have timestamps that are corrected."""
        self._history = history

    async def watch(self) -> None:
        """Compare the clocks from time to time, until cancelled."""
        while True:
            await self.compare()
            await asyncio.sleep(COMPARE_SECONDS)

    async def compare(self) -> None:
        """Compare the clocks now, and note the fault if one is wrong."""
        await self._compare("database", _database_seconds)
        if self._history is not None:
            await self._compare("redis", self._history.clock)
        if (problem := self.find_problem()) is not None:
            faults.begin(FaultKind.CLOCK, problem)
        else:
            faults.end(FaultKind.CLOCK)
        self._note_sources()

    async def _compare(self, name: str, ask: Callable[[], Awaitable[float]]) -> None:
        before = time.time()
        try:
            there = await ask()
        except (DatabaseError, BusError):
            self.skew_seconds.pop(name, None)  # another fault says that it is away
        else:
            self.skew_seconds[name] = (before + time.time()) / 2 - there

    def find_problem(self) -> str | None:
        """Return which clock is wrong, None if none is."""
        wrong = [
            f"the clock of this server is {_describe(skew)} that of {NAMES[name]}"
            for name, skew in self.skew_seconds.items()
            if abs(skew) > MAX_SKEW_SECONDS
        ]
        return f"{'; '.join(wrong)}; synchronize both, for example with NTP" if wrong else None

    def _note_sources(self) -> None:
        if (problem := self.sources.find_problem()) is not None:
            faults.begin(FaultKind.SOURCE_CLOCKS, problem)
        else:
            faults.end(FaultKind.SOURCE_CLOCKS)


NAMES = {"database": "the database", "redis": "Redis"}


def _describe(skew: float) -> str:
    return f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'}"


class SourceClocks:
    """By how much the timestamps of each source differ from the arrival of its metrics."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sources: LruDict[str, _SourceClock] = LruDict(MAX_SOURCES)
        self._logged: LruDict[str, None] = LruDict(MAX_SOURCES)

    def observe(self, metrics: Iterable[Metric], arrived_at: float) -> None:
        """Note metrics that arrived together; `arrived_at` is in seconds since 1970."""
        now = self._clock()
        for source, timestamp in {metric.source: metric.timestamp for metric in metrics}.items():
            known = self._sources.use(source)
            if known is None:
                known = self._sources.put(source, _SourceClock(now))
            known.observe(timestamp - arrived_at, now)

    def wrong(self) -> dict[str, float]:
        """Return by how many seconds the clocks of sources are ahead, of those that are wrong."""
        now = self._clock()
        found = {name: source.skew(now) for name, source in self._sources.items()}
        return {
            name: round(skew, 1)
            for name, skew in found.items()
            if skew is not None and abs(skew) > MAX_SOURCE_SKEW_SECONDS
        }

    def find_problem(self) -> str | None:
        """Return how many sources have a wrong clock, without their names, and log the names of new ones."""
        wrong = self.wrong()
        for source in wrong.keys() - self._logged.keys():
            # Once for each source, since everybody who may see the faults may not see the names.
            self._logged.put(source, None)
            logger.warning("the timestamps of the source %r are %s their arrival", source, _describe(wrong[source]))
        if not wrong:
            return None
        most = max(wrong.values(), key=abs)
        who = f"{len(wrong)} sources send" if len(wrong) > 1 else "a source sends"
        where = "ahead of" if most > 0 else "behind"
        return f"{who} timestamps up to {abs(most):.1f} s {where} their arrival; the log names them"


class _SourceClock:
    """The least delay of a source in this window of SOURCE_SECONDS and in the last one."""

    __slots__ = ("_began", "_last", "_now")

    def __init__(self, now: float) -> None:
        self._began = now
        self._now: float | None = None
        self._last: float | None = None

    def observe(self, ahead: float, now: float) -> None:
        if now - self._began >= SOURCE_SECONDS:
            self._last = self._now if now - self._began < 2 * SOURCE_SECONDS else None
            self._began, self._now = now, None
        self._now = ahead if self._now is None else max(self._now, ahead)

    def skew(self, now: float) -> float | None:
        """Return how far the clock is ahead; None if the source was silent for long."""
        if self._now is None or now - self._began >= 2 * SOURCE_SECONDS:
            return None
        return self._now if self._last is None else max(self._now, self._last)
