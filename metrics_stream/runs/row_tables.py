"""The tables of a run: its requests by name and method, and its errors, each row over all sources that report it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import msgspec

from metrics_stream.core.metrics.catalogue import ERROR, REQUEST
from metrics_stream.core.metrics.keys import label_row, make_row, parse_row
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.columns import SeriesKey
from metrics_stream.core.series.counters import OCCURRENCES, Counts, Origin, Span
from metrics_stream.core.series.folding import NO_FILTERS, matches
from metrics_stream.core.series.packing import Unpacked
from metrics_stream.core.series.row_book import ROW_TYPES
from metrics_stream.models import TestRun
from metrics_stream.runs.span import RunSpan, find_span
from metrics_stream.runs.totals import RunTotals, Shown, load, load_rows, origins_of, sum_up


class RequestTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of the requests of one key; `key` has its parts by name."""

    key: dict[str, str]
    label: str
    totals: RunTotals


class ErrorTotals(msgspec.Struct, frozen=True, kw_only=True):
    """How often an error occurred; `key` has the name and method of the request, and the message."""

    key: dict[str, str]
    label: str
    sources: list[str]
    occurrences: float


class RowTables(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of a run, or of a span of it: the requests by their keys, the errors by how often they occurred."""

    requests: list[RequestTotals] = []
    errors: list[ErrorTotals] = []


def row_tables(
    run: TestRun,
    *,
    permit: Permit = EVERYTHING,
    since: float | None = None,
    until: float | None = None,
    by: Collection[str] = (),
    filters: Filters = NO_FILTERS,
) -> RowTables:
    """Return the tables of what a permit shows of a run, or of a span of it between two instants.

    `filters` narrow them to sources, and to rows by the parts of their keys.

    The counts of a row cover the same time as those of the run's totals, so the rates of all rows add up to its rate.
    `by` are parts of keys: requests that have them in common become one row.
    """
    span = find_span(run, since, until)
    if span is None:
        return RowTables()
    rows = load_rows(run, span, permit, ROW_TYPES)
    if not rows.parts:
        return RowTables()
    origins = origins_of(rows, load(run, span, permit))
    by_row: dict[str, dict[str, dict[SeriesKey, Unpacked]]] = {slug: defaultdict(dict) for slug in ROW_TYPES}
    for key, part in rows.parts.items():
        if key.row is not None and matches(key, ROW_TYPES, filters):
            row = _joined(key.row, by) if by and key.metric_type == REQUEST.slug else key.row
            by_row[key.metric_type][row][key] = part
    return RowTables(
        requests=_requests(by_row[REQUEST.slug], span, rows.span, origins),
        errors=_errors(by_row[ERROR.slug], rows, origins),
    )


def _joined(row: str, by: Collection[str]) -> str:
    return make_row([(part, value) for part, value in parse_row(row).items() if part in by])


def _requests(
    by_row: Mapping[str, Mapping[SeriesKey, Unpacked]], of_run: RunSpan, span: Span, origins: Mapping[str, Origin]
) -> list[RequestTotals]:
    found = [
        RequestTotals(
            key=dict(parse_row(row)),
            label=label_row(row),
            totals=sum_up(parts, parts, of_run, span, origins=origins),
        )
        for row, parts in sorted(by_row.items())
    ]
    return [row for row in found if row.totals.requests is not None or row.totals.measured]


def _errors(
    by_row: Mapping[str, Mapping[SeriesKey, Unpacked]], rows: Shown, origins: Mapping[str, Origin]
) -> list[ErrorTotals]:
    found = []
    for row, parts in sorted(by_row.items()):
        counts = [
            Counts(part.columns, rows.span, origin=origins.get(key.source), counter=OCCURRENCES).occurrences or 0.0
            for key, part in parts.items()
        ]
        if total := sum(counts):
            sources = sorted({key.source for key in parts})
            found.append(
                ErrorTotals(key=dict(parse_row(row)), label=label_row(row), sources=sources, occurrences=total)
            )
    return sorted(found, key=lambda error: -error.occurrences)
