"""Totals of files that have every request: response times, failures and instants of single requests."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure, Interval, NamedTotals, Totals
from metrics_stream.core.formats.results.file import MAX_NAMES, tidy_name
from metrics_stream.core.metrics.percentiles import rank_of
from metrics_stream.core.metrics.sketch import Sketch

PERCENTAGES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
"""The percentiles that are found in single response times."""

# A file of a longer test is not read: an instant in it is wrong.
MAX_SECONDS = 31 * 86_400

MAX_REQUESTS = 5_000_000
"""So many requests are read from a file."""

MAX_INTERVALS = 100_000
"""Of a longer test, more than a day, only the totals are kept."""


def percentile_of(ordered: array[float], percent: float) -> float:
    """Return the percentile of sorted times by the rule of `Sketch`."""
    return ordered[rank_of(percent / 100, len(ordered))]


class Counted:
    """Requests of one name, or all of them."""

    __slots__ = ("failures", "times_ms")

    def __init__(self) -> None:
        self.failures = 0
        self.times_ms = array("d")

    def add(self, elapsed_ms: float, *, failed: bool) -> None:
        """Count one request."""
        self.times_ms.append(elapsed_ms)
        self.failures += failed

    def totals(self, *, within_ms: float, seconds: float | None) -> Totals:
        """Return the figures; each time was rounded to `within_ms`."""
        ordered = array("d", sorted(self.times_ms))
        count = len(ordered)
        rate = Figure(count / seconds) if seconds else None
        duration = None if seconds is None else Figure(seconds)
        if not count:
            return Totals(requests=0, failures=0, rate=rate, duration_seconds=duration)
        return Totals(
            requests=count,
            failures=self.failures,
            rate=rate,
            duration_seconds=duration,
            mean_ms=Figure(math.fsum(ordered) / count, within_ms),
            min_ms=Figure(ordered[0], within_ms),
            max_ms=Figure(ordered[-1], within_ms),
            percentiles_ms={percent: Figure(percentile_of(ordered, percent), within_ms) for percent in PERCENTAGES},
        )


@dataclass(slots=True)
class _Second:
    requests: int = 0
    failures: int = 0
    sum_ms: float = 0.0
    min_ms: float = math.inf
    response_times: Sketch = field(default_factory=Sketch)


class Samples:
    """All requests of a file, by name and by the second in which they ended."""

    def __init__(self, *, within_ms: float) -> None:
        self.all = Counted()
        self._within_ms = within_ms
        self._names: dict[str, Counted] = {}
        self._left_out: set[int] = set()
        self._seconds: dict[int, _Second] = {}
        self._has_course = True
        self._first = math.inf
        self._last = -math.inf

    def add(self, started_at: float, elapsed_ms: float, *, failed: bool, name: str = "") -> None:
        """Count a request that began at `started_at`, in seconds."""
        ended_at = started_at + elapsed_ms / 1000
        self._first, self._last = min(self._first, started_at), max(self._last, ended_at)
        if self._last - self._first > MAX_SECONDS:
            raise ResultFileError(f"the requests are spread over more than {MAX_SECONDS // 86_400} days")
        if len(self) >= MAX_REQUESTS:
            raise ResultFileError(f"the file has more than {MAX_REQUESTS:,} requests; allowed: at most so many")
        self.all.add(elapsed_ms, failed=failed)
        if name:
            self._count_name(tidy_name(name), elapsed_ms, failed=failed)
        if self._has_course:
            self._count_second(math.floor(ended_at), elapsed_ms, failed=failed)

    def _count_name(self, name: str, elapsed_ms: float, *, failed: bool) -> None:
        counted = self._names.get(name)
        if counted is None:
            if len(self._names) >= MAX_NAMES:
                self._left_out.add(hash(name))
                return
            counted = self._names[name] = Counted()
        counted.add(elapsed_ms, failed=failed)

    def _count_second(self, at: int, elapsed_ms: float, *, failed: bool) -> None:
        second = self._seconds.get(at)
        if second is None:
            if len(self._seconds) >= MAX_INTERVALS:
                self._seconds.clear()
                self._has_course = False
                return
            second = self._seconds[at] = _Second()
        second.requests += 1
        second.failures += failed
        second.sum_ms += elapsed_ms
        second.min_ms = min(second.min_ms, elapsed_ms)
        second.response_times.add(elapsed_ms)

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.all.times_ms)

    @property
    def started_at(self) -> float | None:
        """When the first request began; None without any."""
        return self._first if len(self) else None

    @property
    def ended_at(self) -> float | None:
        """When the last request ended; None without any."""
        return self._last if len(self) else None

    @property
    def names_left_out(self) -> int:
        """How many names there are beyond MAX_NAMES."""
        return len(self._left_out)

    def totals(self) -> Totals:
        """Return the figures of all requests."""
        return self.all.totals(within_ms=self._within_ms, seconds=self._elapsed())

    def by_name(self) -> tuple[NamedTotals, ...]:
        """Return the figures of each name, in the order of the file."""
        seconds = self._elapsed()
        return tuple(
            NamedTotals(name, "", counted.totals(within_ms=self._within_ms, seconds=seconds))
            for name, counted in self._names.items()
        )

    def intervals(self) -> tuple[Interval, ...]:
        """Return what ended in each second that has requests, the earliest first; nothing past MAX_INTERVALS."""
        return tuple(
            Interval(
                float(second),
                1.0,
                entry.requests,
                entry.failures,
                entry.sum_ms / entry.requests,
                entry.min_ms,
                entry.response_times.encode(),
            )
            for second, entry in sorted(self._seconds.items())
        )

    def _elapsed(self) -> float | None:
        return self._last - self._first if len(self) else None
