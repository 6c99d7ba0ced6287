"""What counters say about a span of time: by how much they grew, and the ratios and rates that follow from that.

A counter grows from a start. When it falls, it began again at zero: its producer was started anew. A field that falls
again and again counts each interval for itself, so its values are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from metrics_stream.core.series.columns import Column

# A counter that falls at every fifth step is none. Producers are not started anew so often.
FALLS_OF_STEPS = 5

# A first value may be so many times what the counter gains in the time since the run began, before it is taken for the
# work of a time before the run.
_TOLERANCE = 3.0

REQUESTS = (
    *("requests_total", "requests_processed", "total_requests", "requests_count", "request_count"),
    *("transactions_processed", "total_transactions"),
)
FAILURES = (
    *("requests_failed", "error_count", "errors_total", "total_errors", "failure_count", "failures_total"),
    *("total_failures", "failed_total", "errors_count"),
)
SUCCESSES = ("requests_successful",)
TIMEOUTS = ("timeout_count", "timeouts_total")
RESPONSE_TIMES = ("response_time_total_ms",)
COSTS = ("total_cost",)
ELAPSED = ("elapsed_seconds",)
RECEIVED_BYTES = ("received_bytes_total",)
OCCURRENCES = ("occurrences_total",)
AVERAGE = "avg_response_time_ms"


class Span(NamedTuple):
    """The buckets from `first` up to before `end`, each of `seconds`, of a run.

    Instants are in seconds since 1970: `began_at` of its start, `first_at` and `last_at` of its metrics.
    """

    first: int
    end: int
    seconds: int
    began_at: float
    first_at: float
    last_at: float

    def seconds_between(self, first: int, last: int) -> float:
        """Return the time from the first metric in a bucket to the last one in another, as exactly as it is known."""
        if self.first_at // self.seconds == first and self.last_at // self.seconds == last:
            return self.last_at - self.first_at
        return (last - first) * self.seconds


class Origin(NamedTuple):
    """What all rows of a source have in common.

    `first` is the bucket of its first metric; a row that appears later begins at zero. `is_from_zero` says whether what
    the rows had then was counted within the run. `seconds` is the time that their counts cover, and `is_exact` whether
    it includes the time before the first metric.
    """

    first: int
    is_from_zero: bool
    seconds: float | None
    is_exact: bool


class Counts:
    """The counters of one key of a recording over a span; `prefix` is the path of the object that has them."""

    def __init__(
        self,
        columns: Mapping[str, Column],
        span: Span,
        prefix: str = "",
        *,
        origin: Origin | None = None,
        counter: tuple[str, ...] = REQUESTS,
    ) -> None:
        """`origin` is that of a row, `counter` are the names of what is counted."""
        self._columns = columns
        self._span = span
        self._prefix = prefix
        self._origin = origin
        self._counter = counter
        counted = self._find(counter)
        self._are_intervals = counted is not None and _counts_intervals(counted)

    @cached_property
    def are_from_zero(self) -> bool:
        """Whether what the counters had at their first values was counted within the run."""
        counted = self._find(self._counter)
        if counted is None:
            return False
        if self._origin is None:
            return _begins_at_zero(counted, self._span)
        return self._origin.is_from_zero or counted.buckets[0] > self._origin.first

    def _find(self, names: tuple[str, ...]) -> Column | None:
        for name in names:
            column = self._columns.get(self._prefix + name)
            if column is not None and column.buckets:
                return column
        return None

    def grown(self, names: tuple[str, ...]) -> float | None:
        """Return by how much the first of some counters that exists grew over the span, None if there is none."""
        column = self._find(names)
        if column is None:
            return None
        if self._are_intervals:
            return sum(column.between(self._span.first, self._span.end).totals)
        return sum(gain for _, gain in _gains(column, self._span, from_zero=self.are_from_zero))

    @property
    def requests(self) -> float | None:
        """The number of requests or transactions."""
        return self.grown(REQUESTS)

    @property
    def failures(self) -> float | None:
        """The number of failed requests."""
        failures = self.grown(FAILURES)
        if failures is None and (successes := self.grown(SUCCESSES)) is not None and self.requests is not None:
            return max(0.0, self.requests - successes)
        return failures

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The buckets of the first and the last value; None without any."""
        column = self._find(self._counter)
        return None if column is None else (column.buckets[0], column.buckets[-1])

    @property
    def first_value(self) -> float:
        """The first value; 0 without one."""
        column = self._find(self._counter)
        return 0.0 if column is None else column.lows[0]

    @property
    def states_seconds(self) -> bool:
        """Whether the producer says which time the counts cover."""
        return bool(self.grown(ELAPSED))

    @property
    def received_bytes(self) -> float | None:
        """The number of bytes received."""
        return self.grown(RECEIVED_BYTES)

    @property
    def occurrences(self) -> float | None:
        """How often an error occurred."""
        return self.grown(OCCURRENCES)

    @property
    def seconds(self) -> float | None:
        """The seconds that the counts cover: as the producer says, else from the first to the last value."""
        if elapsed := self.grown(ELAPSED):
            return elapsed
        if self._origin is not None:
            return self._origin.seconds
        column = self._find(REQUESTS)
        part = None if column is None else column.between(self._span.first, self._span.end)
        if part is None or len(part.buckets) < 2:
            return None
        return self._span.seconds_between(part.buckets[0], part.buckets[-1])

    def rate(self) -> float | None:
        """Return the requests per second over the span; None if the time that they took is unknown."""
        column, seconds = self._find(REQUESTS), self.seconds
        if column is None or not seconds:
            return None
        origin = self._origin
        if self._are_intervals or self.grown(ELAPSED) or (origin is not None and origin.is_exact):
            return (self.requests or 0.0) / seconds
        # What was counted up to the first value took a time that nobody knows.
        part = column.between(self._span.first, self._span.end)
        is_later = origin is not None and bool(part.buckets) and part.buckets[0] > max(origin.first, self._span.first)
        return sum(gain for _, gain in _gains(part, self._span, from_zero=is_later)) / seconds

    def mean(self, field: str) -> float | None:
        """Return the mean of a ratio, average or rate over the span, from counts; None if they do not tell it."""
        find = _MEANS.get(field.removeprefix(self._prefix))
        found = None if find is None else find(self)
        return self._weigh(field) if found is None and field.endswith(AVERAGE) else found

    def error_rate(self) -> float | None:
        """Return the share of requests that failed."""
        return _ratio(self.failures, self.requests)

    def success_rate(self) -> float | None:
        """Return the share of requests that did not fail."""
        errors = self.error_rate()
        return None if errors is None else 1.0 - errors

    def timeout_rate(self) -> float | None:
        """Return the share of requests that timed out."""
        return _ratio(self.grown(TIMEOUTS), self.requests)

    def mean_cost(self) -> float | None:
        """Return the cost of a transaction."""
        return _ratio(self.grown(COSTS), self.requests)

    def mean_response_time(self) -> float | None:
        """Return the mean of all response times, in milliseconds."""
        return _ratio(self.grown(RESPONSE_TIMES), self.requests)

    def _weigh(self, field: str) -> float | None:
        """Return the mean of a field in which each value counts as much as the requests that it is of."""
        column, requests = self._columns.get(field), self._find(REQUESTS)
        if column is None or requests is None:
            return None
        weights = dict(self._each(requests))
        part = column.between(self._span.first, self._span.end)
        pairs = [
            (total / count, weights.get(bucket, 0.0))
            for bucket, total, count in zip(part.buckets, part.totals, part.counts, strict=True)
        ]
        return _ratio(sum(value * weight for value, weight in pairs), sum(weight for _, weight in pairs))

    def _each(self, column: Column) -> Iterator[tuple[int, float]]:
        if self._are_intervals:
            part = column.between(self._span.first, self._span.end)
            return zip(part.buckets, part.totals, strict=True)
        return _gains(column, self._span, from_zero=self.are_from_zero)


_MEANS: Mapping[str, Callable[[Counts], float | None]] = {
    "error_rate": Counts.error_rate,
    "failure_rate": Counts.error_rate,
    "success_rate": Counts.success_rate,
    "timeout_rate": Counts.timeout_rate,
    "cost_per_transaction": Counts.mean_cost,
    "throughput_tps": Counts.rate,
    "transactions_per_second": Counts.rate,
    AVERAGE: Counts.mean_response_time,
}


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _counts_intervals(column: Column) -> bool:
    lows, lasts = column.lows, column.lasts
    falls = sum(low < before for low, before in zip(lows[1:], lasts, strict=False))
    return falls >= 2 and falls * FALLS_OF_STEPS >= len(lasts) - 1


def _begins_at_zero(column: Column, span: Span) -> bool:
    """Return whether what a counter had at its first value was counted within the run, and not before it."""
    low, last = column.lows[0], column.lasts[0]
    if low <= 0 or (len(column.buckets) == 1 and column.counts[0] == 1):
        return True
    if len(column.buckets) == 1:
        return low <= _TOLERANCE * (last - low)
    steps = [
        ((after - before) * span.seconds, max(0.0, value - earlier))
        for before, after, earlier, value in zip(
            column.buckets, column.buckets[1:], column.lasts, column.lasts[1:], strict=False
        )
    ]
    most = max(gain / seconds for seconds, gain in steps)
    spacing = span.seconds_between(column.buckets[0], column.buckets[-1]) / max(1, sum(column.counts) - 1)
    since_began = max(column.buckets[0] * span.seconds, span.first_at) - span.began_at
    return low <= _TOLERANCE * most * (max(0.0, since_began) + spacing)


def _gains(column: Column, span: Span, *, from_zero: bool) -> Iterator[tuple[int, float]]:
    """Yield by how much a counter grew in each bucket of a span."""
    before: float | None = None
    for bucket, low, high, last in zip(column.buckets, column.lows, column.highs, column.lasts, strict=True):
        if bucket >= span.end:
            return
        if before is None:
            before = 0.0 if from_zero else low
        gain = last - before
        if low < before:  # It began again. Its highest value in this bucket may be from before that.
            gain = last + (max(0.0, high - before) if high > last else 0.0)
        before = last
        if bucket >= span.first:
            yield bucket, gain
