"""The totals of a recorded run in the form of a tool's result file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from metrics_stream.core.formats.results.figures import Figure, Totals
from metrics_stream.core.metrics.percentiles import share_of
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.metrics.sketch import ACCURACY
from metrics_stream.models import TestRun
from metrics_stream.runs import series
from metrics_stream.runs.clock import database_now
from metrics_stream.runs.series import SeriesSummary

RULES: tuple[str, ...] = ()

_PERCENTILE = re.compile(r"p(\d{2,5})_response_time_ms")


def totals_of(run: TestRun, permit: Permit) -> Totals:
    """Return the figures of the permitted part of a run."""
    sources: dict[str, dict[str, SeriesSummary]] = {}
    for row in series.summary(run):
        if row.metric_type == "system" and permit.shows(row.metric_type, row.source, row.agent_id, row.field):
            sources.setdefault(row.source, {})[row.field] = row
    fields = list(sources.values())
    requests = _combine(sum, fields, "requests_total", lambda row: row.last)
    failures = _combine(sum, fields, "requests_failed", lambda row: row.last)
    seconds = None
    if run.started_at is not None:
        seconds = ((run.ended_at or database_now()) - run.started_at).total_seconds()
    only = fields[0] if len(fields) == 1 else {}
    return Totals(
        requests=None if requests is None else int(requests),
        failures=None if failures is None else int(failures),
        rate=Figure(requests / seconds) if seconds and requests is not None else None,
        duration_seconds=None if seconds is None else Figure(seconds),
        mean_ms=_figure(only, "avg_response_time_ms", lambda row: row.last if row.count == 1 else None),
        min_ms=_figure(only, "min_response_time_ms", lambda row: row.min),
        max_ms=_figure(only, "max_response_time_ms", lambda row: row.max),
        percentiles_ms={
            share_of(found[1]) * 100: Figure(row.percentile, 0.0 if row.count == 1 else row.percentile * ACCURACY)
            for name, row in only.items()
            if (found := _PERCENTILE.fullmatch(name)) and row.percentile is not None
        },
    )


def _combine(
    how: Callable[[Iterable[float]], float],
    sources: Iterable[Mapping[str, SeriesSummary]],
    field: str,
    value: Callable[[SeriesSummary], float],
) -> float | None:
    found = [value(fields[field]) for fields in sources if field in fields]
    return how(found) if found else None


def _figure(
    fields: Mapping[str, SeriesSummary], field: str, value: Callable[[SeriesSummary], float | None]
) -> Figure | None:
    found = value(fields[field]) if field in fields else None
    return None if found is None else Figure(found)
