"""The rows of a keyed metric type in a recorded run, each with its figures: the table of requests, that of errors."""

from __future__ import annotations

import msgspec

from metrics_stream.core.metrics.keys import parse_row
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.metrics.summaries import kind_of
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.columns import SeriesKey
from metrics_stream.core.series.folding import matches
from metrics_stream.models import TestRun
from metrics_stream.runs import series
from metrics_stream.runs.series import SeriesSummary


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row, and the sources that report it; `figures` are those of its fields over the span."""

    sources: list[str]
    key: dict[str, str]
    figures: dict[str, float | str | None]


def rows_of(
    run: TestRun,
    metric_type: str,
    permit: Permit,
    *,
    filters: Filters,
    since: float | None = None,
    until: float | None = None,
) -> list[RunRow]:
    """Return the rows of a metric type that a permit shows and filters keep, by source and key, over a span."""
    found: dict[tuple[str, str], RunRow] = {}
    for item in series.summary(run, since=since, until=until):
        key = SeriesKey(item.metric_type, item.source, item.row)
        if item.row is None or not matches(key, (metric_type,), filters):
            continue
        if permit.shows(item.metric_type, item.source, item.row, item.field):
            place = item.source, item.row
            row = found.setdefault(place, RunRow(sources=[item.source], key=dict(parse_row(item.row)), figures={}))
            row.figures[item.field] = _figure(item)
    return [found[place] for place in sorted(found)]


def _figure(item: SeriesSummary) -> float | None:
    """Return the one number that says most about a series."""
    match kind_of(item.field):
        case "percentile":
            return item.percentile
        case "counter":
            return item.last
        case "maximum":
            return item.max
        case "minimum":
            return item.min
        case _:
            return item.mean
