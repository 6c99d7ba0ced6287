"""The totals of a recorded run, and of its requests by name, in the form of a tool's result file."""

from __future__ import annotations

from collections.abc import Iterator

from metrics_stream.core.formats.results.figures import Figure, NamedTotals, Totals
from metrics_stream.core.formats.results.numbers import per_second
from metrics_stream.core.metrics.percentiles import percentile_in
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.metrics.sketch import ACCURACY
from metrics_stream.core.series.row_book import ROW_TYPES, SKETCH
from metrics_stream.models import TestRun
from metrics_stream.runs import series
from metrics_stream.runs.clock import database_now
from metrics_stream.runs.row_tables import row_tables
from metrics_stream.runs.series import SeriesSummary
from metrics_stream.runs.totals import PERCENTILES, RunTotals, totals

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
    return _figures_of(run, found, _percentiles(found, list(_rows_of(run, permit, found))))


def named_totals_of(run: TestRun, permit: Permit) -> tuple[NamedTotals, ...]:
    """Return the figures of each name and method in the permitted part of a run."""
    return tuple(
        NamedTotals(
            row.key.get("name", ""), row.key.get("method", ""), _figures_of(run, row.totals, _from_sketches(row.totals))
        )
        for row in row_tables(run, permit=permit, by=("name", "method")).requests
    )


def _figures_of(run: TestRun, found: RunTotals, percentiles: dict[float, Figure]) -> Totals:
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
        min_ms=_figure(found.min_ms),
        max_ms=_figure(found.max_ms),
        percentiles_ms=percentiles,
    )


def _rows_of(run: TestRun, permit: Permit, found: RunTotals) -> Iterator[SeriesSummary]:
    """Yield the visible series of the sources whose requests were counted."""
    for row in series.summary(run, without=ROW_TYPES):
        is_counted = row.metric_type == found.metric_type and row.source in found.sources
        if is_counted and permit.shows(row.metric_type, row.source, row.row, row.field):
            yield row


def _from_sketches(found: RunTotals) -> dict[float, Figure]:
    return {
        _percent(PERCENTILES[name]): Figure(value, value * ACCURACY)
        for name, value in found.percentiles.items()
        if value is not None
    }


def _percentiles(found: RunTotals, rows: list[SeriesSummary]) -> dict[float, Figure]:
    known = _from_sketches(found)
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
