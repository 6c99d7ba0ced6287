"""The totals of a recorded run in the form of a tool's result file."""

from __future__ import annotations

from collections.abc import Iterator

from metrics_stream.core.formats.results.figures import Figure, Totals
from metrics_stream.core.formats.results.numbers import per_second
from metrics_stream.core.metrics.percentiles import percentile_in
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.metrics.sketch import ACCURACY
from metrics_stream.models import TestRun
from metrics_stream.runs import series
from metrics_stream.runs.clock import database_now
from metrics_stream.runs.series import SeriesSummary
from metrics_stream.runs.totals import PERCENTILES, SKETCH, RunTotals, totals

_LEAST = f"min_{SKETCH}"

RULES = (
    "Requests and failures are what the counters of the run's sources grew by.",
    "The rate is the number of requests over the time that the counters cover, or over the whole run if they do not say"
    " it. The mean is that of all requests.",
    f"Percentiles are those of all response times, from merged sketches, exact within {ACCURACY:.0%}: the value with"
    " the index floor(share * count) among the sorted ones, counted from 0. One that was published only once is that"
    " value.",
)


def totals_of(run: TestRun, permit: Permit) -> Totals:
    """Return the figures of the permitted part of a run."""
    found = totals(run, permit=permit)
    if found is None:
        return Totals()
    rows = list(_rows_of(run, permit, found))
    requests = None if found.requests is None else round(found.requests)
    duration = _figure(found.seconds) or _span_of(run)
    rate = _figure(found.rate)
    if rate is None and requests is not None:
        rate = per_second(requests, duration)
    return Totals(
        requests=requests,
        failures=None if found.failures is None else round(found.failures),
        rate=rate,
        duration_seconds=duration,
        mean_ms=_figure(found.mean_ms),
        min_ms=_figure(min((row.min for row in rows if row.field == _LEAST), default=None)),
        max_ms=_figure(found.max_ms),
        percentiles_ms=_percentiles(found, rows),
    )


def _rows_of(run: TestRun, permit: Permit, found: RunTotals) -> Iterator[SeriesSummary]:
    """Yield the visible series of the sources whose requests were counted."""
    for row in series.summary(run):
        is_counted = row.metric_type == found.metric_type and row.source in found.sources
        if is_counted and permit.shows(row.metric_type, row.source, row.row, row.field):
            yield row


def _percentiles(found: RunTotals, rows: list[SeriesSummary]) -> dict[float, Figure]:
    known = {
        _percent(PERCENTILES[name]): Figure(value, value * ACCURACY)
        for name, value in found.percentiles.items()
        if value is not None
    }
    if len({(row.source, row.row) for row in rows}) != 1:
        return known  # Percentiles of several sources cannot be joined without sketches.
    for row in rows:
        named = percentile_in(row.field)
        if named is None or named.share is None or named.base != SKETCH or row.percentile is None or row.is_worst:
            continue
        # Beside a sketch, a published percentile may come from it.
        within = 0.0 if row.count == 1 and found.measured is None else row.percentile * ACCURACY
        known[_percent(named.share)] = Figure(row.percentile, within)
    return known


def _percent(share: float) -> float:
    return round(share * 100, 6)


def _span_of(run: TestRun) -> Figure | None:
    if run.started_at is None:
        return None
    return Figure(((run.ended_at or database_now()) - run.started_at).total_seconds())


def _figure(value: float | None) -> Figure | None:
    return None if value is None else Figure(value)
