"""The metrics of a test that is over, made of its result file: what an import records in a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Interval, Results, Totals
from metrics_stream.core.formats.results.samples import PERCENTAGES
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.sketch import Sketch

# A metric without response times has a sketch, too: a percentile of the run needs that of every metric.
_NOTHING = {"response_time_ms": Sketch().encode()}

# A run needs a length; a test of some requests is shorter than a tool's rounding.
_SHORTEST_SECONDS = 0.001


class Span(NamedTuple):
    """When a test began and ended, in seconds since 1970, and how long it took by the clock of its tool."""

    started_at: float
    ended_at: float
    seconds: float


def span_of(results: Results, *, started_at: float | None, ended_at: float | None, written_at: float) -> Span:
    """Return when a test took place.

    What is given counts, then what the file says, and the rest is calculated with the duration. A file that says
    neither start nor end was written at the end. Raises ResultFileError if the duration is needed and unknown, and for
    an end before the start.
    """
    seconds = _seconds_of(results.totals)
    if started_at is None and ended_at is None:
        started_at, ended_at = results.started_at, results.ended_at
    if started_at is None or ended_at is None:
        if seconds is None:
            raise ResultFileError("the file does not say how long the test took; give its start and its end")
        if started_at is not None:
            ended_at = started_at + seconds
        else:
            ended_at = written_at if ended_at is None else ended_at
            started_at = ended_at - seconds
    if ended_at < started_at:
        end, start = (format_timestamp(instant) for instant in (ended_at, started_at))
        raise ResultFileError(f"the test ended at {end}, before its start at {start}; allowed: an end after the start")
    ended_at = max(ended_at, started_at + _SHORTEST_SECONDS)
    return Span(started_at, ended_at, ended_at - started_at if seconds is None else seconds)


def _seconds_of(totals: Totals) -> float | None:
    """Return the duration, which the rate tells more exactly than the rounded duration of a tool."""
    duration, rate = totals.duration_seconds, totals.rate
    if duration is None:
        return None
    if totals.requests and rate and rate.value:
        exact = totals.requests / rate.value
        if abs(exact - duration.value) <= duration.within:
            return exact
    return max(duration.value, _SHORTEST_SECONDS)


def system_metrics(results: Results, span: Span) -> Iterator[dict[str, Any]]:
    """Yield metrics of the type `system`: the course of the test where the file has it, else its totals at the end.

    They are as for `broadcast_many`, with timestamps within the span.
    """
    if results.intervals:
        yield from _course(results, span)
        return
    totals = results.totals
    if totals.requests is not None:
        # Counters grow from a start, so that the run has all of their growth.
        yield _metric(span.started_at, {**_counts(0, 0), "elapsed_seconds": 0.0})
    yield _metric(span.ended_at, {**_totals(totals), "elapsed_seconds": span.seconds}, span.seconds)


def _course(results: Results, span: Span) -> Iterator[dict[str, Any]]:
    started_at, ended_at, all_seconds = span
    # Without a start of its own, the file counts the seconds from the start of the test.
    shift = started_at if results.started_at is None else 0.0
    requests = failures = 0
    # Their mean is exact, also where two parts of the course end in one second of the run.
    spent_ms = 0.0
    reached = None

    def at(instant: float, data: dict[str, Any], seconds: float = 1.0) -> dict[str, Any]:
        instant = min(ended_at, max(started_at, instant))
        elapsed = all_seconds if instant == ended_at else min(all_seconds, instant - started_at)
        counts = {**_counts(requests, failures), "response_time_total_ms": spent_ms, "elapsed_seconds": elapsed}
        return _metric(instant, {**counts, **data}, seconds)

    yield at(started_at, {"sketches": _NOTHING})
    for part in results.intervals:
        for end in _empty_seconds(reached, part.starts_at):
            yield at(shift + end, {"throughput_tps": 0.0, "sketches": _NOTHING})
        reached = part.starts_at + part.seconds
        requests += part.requests
        failures += part.failures
        spent_ms += part.requests * part.mean_ms
        yield at(shift + reached, _interval(part), part.seconds)


def _counts(requests: int | None, failures: int | None) -> dict[str, int | None]:
    return {
        "requests_total": requests,
        "requests_successful": None if requests is None or failures is None else requests - failures,
        "requests_failed": failures,
    }


def _empty_seconds(reached: float | None, starts_at: float) -> list[float]:
    """Return the ends of the first and the last second without requests, between which a line lies at 0."""
    if reached is None or starts_at - reached < 1:
        return []
    return [reached + 1, starts_at] if starts_at - reached > 1 else [starts_at]


def _metric(at: float, data: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
    """Return a metric, whose rates, times and ratios were measured over so many seconds."""
    metric: dict[str, Any] = {"metric_type": "system", "timestamp": at, "data": data}
    measured = [name for name in data if name.endswith(("_tps", "_rate", "_response_time_ms"))]
    if seconds and measured:
        metric["windows"] = dict.fromkeys(measured, seconds)
    return metric


def _interval(part: Interval) -> dict[str, Any]:
    sketch = Sketch()
    sketch.merge(part.response_times)
    return {
        "throughput_tps": part.requests / part.seconds,
        "error_rate": part.failures / part.requests,
        "avg_response_time_ms": part.mean_ms,
        "min_response_time_ms": part.min_ms,
        "max_response_time_ms": part.response_times.max,
        # The run has the percentiles of everything, from the sketches.
        **{f"{_digits(percent)}_response_time_ms": sketch.quantile(percent / 100) for percent in PERCENTAGES},
        "sketches": {"response_time_ms": part.response_times},
    }


def _totals(totals: Totals) -> dict[str, Any]:
    figures = {
        "throughput_tps": totals.rate,
        "avg_response_time_ms": totals.mean_ms,
        "min_response_time_ms": totals.min_ms,
        "max_response_time_ms": totals.max_ms,
        **{f"{_digits(percent)}_response_time_ms": figure for percent, figure in totals.percentiles_ms.items()},
    }
    return {
        **_counts(totals.requests, totals.failures),
        "error_rate": totals.failure_ratio,
        **{name: figure.value for name, figure in figures.items() if figure is not None},
    }


def _digits(percent: float) -> str:
    """Return the name of a percentile: p50, p01 for 1 %, p999 for 99.9 %, p100."""
    if percent == 100:
        return "p100"
    whole, _, rest = f"{percent:.4f}".partition(".")
    return f"p{whole:0>2}{rest.rstrip('0')}"
