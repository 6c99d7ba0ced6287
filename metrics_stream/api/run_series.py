"""`/api/v1/runs/<slug>/series/`, `requests/` and `errors/`: the recorded series of a run, and its tables of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from metrics_stream.api.methods import by_method
from metrics_stream.api.readers import HIGH_COST, Call, reads
from metrics_stream.api.responses import Next, PageQuery, page_of
from metrics_stream.api.run_list import find_run
from metrics_stream.api.series import (
    End,
    SeriesQuery,
    SeriesTable,
    Sources,
    Start,
    check_span,
    describe_series,
    filters_of,
)
from metrics_stream.audit.trail import Action
from metrics_stream.conf import get_settings
from metrics_stream.core.delivery.selection import check_filters
from metrics_stream.core.formats.operations import CSV, JSON
from metrics_stream.core.formats.queries import Keys
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.columns import permitted_series
from metrics_stream.core.series.folding import matches
from metrics_stream.models import TestRun
from metrics_stream.reports.run_tables import ErrorRow, RequestRow, error_rows, request_rows
from metrics_stream.runs import series as run_series
from metrics_stream.runs.open_run import key_of
from metrics_stream.runs.row_tables import RowTables, row_tables


class RowsQuery(PageQuery, frozen=True, kw_only=True):
    """The parameters of a table of rows."""

    sources: Sources = ()
    keys: Keys = {}
    from_: Start = msgspec.field(name="from", default=None)
    to: End = None


@reads(
    summary="Read the recorded series of a test run.",
    tag="Test runs",
    query=SeriesQuery,
    answer=SeriesTable,
    answers_with=(JSON, CSV),
    errors=(RequestErrorCode.NOT_FOUND,),
    cost=HIGH_COST,
)
def read_series(call: Call[SeriesQuery], slug: str) -> SeriesTable:
    """Return series of a visible run, a page of groups at a time; all have the same buckets."""
    query, access = call.query, call.access
    check_span(query.from_, query.to)
    run = find_run(access, slug)
    filters = filters_of(query)
    groups = [
        group
        for group in run_series.groups_of(run)
        if access.permit.covers(group.metric_type, group.source) and matches(key_of(group), query.types, filters)
    ]
    shown, following = page_of(groups, query)
    found = run_series.of_groups(
        run, shown, fields=filters.fields, since=query.from_, until=query.to, max_points=query.max_points
    )
    call.note(Action.EXPORT, f"{run.slug}: series")
    return SeriesTable(
        series=[describe_series(item) for item in permitted_series(found, access.permit)], next=following
    )


# --- tables of rows ---


class RequestsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the requests of a run, by key."""

    run: str
    requests: list[RequestRow]
    next: Next

    def table(self) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Return the rows as a table: a column for each part of a key and for each figure."""
        return _table_of(self.requests)


class ErrorsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the errors of a run, the most frequent first."""

    run: str
    errors: list[ErrorRow]
    next: Next

    def table(self) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Return the rows as a table: a column for each part of a key and for each figure."""
        return _table_of(self.errors)


def _table_of(rows: Sequence[RequestRow | ErrorRow]) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
    parts = list(dict.fromkeys(part for row in rows for part in row.key))
    objects = [_figures_of(row) for row in rows]
    names = list(dict.fromkeys(name for item in objects for name in item))
    return (*parts, *names), (
        [*(row.key.get(part, "") for part in parts), *(item.get(name) for name in names)]
        for row, item in zip(rows, objects, strict=True)
    )


def _figures_of(row: RequestRow | ErrorRow) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(row)
    del found["key"], found["label"]
    percentiles = found.pop("percentiles", {})
    return {**found, **percentiles}


def _read_tables(call: Call[RowsQuery], slug: str, name: str) -> tuple[TestRun, RowTables]:
    query = call.query
    check_span(query.from_, query.to)
    run = find_run(call.access, slug)
    filters = check_filters(Filters(sources=query.sources, keys=query.keys), max_terms=get_settings().max_filter_terms)
    found = row_tables(run, permit=call.access.permit, since=query.from_, until=query.to, filters=filters)
    call.note(Action.EXPORT, f"{run.slug}: {name}")
    return run, found


_TABLE: dict[str, Any] = {
    "tag": "Test runs",
    "query": RowsQuery,
    "answers_with": (JSON, CSV),
    "errors": (RequestErrorCode.NOT_FOUND,),
    "cost": HIGH_COST,
}


@reads(summary="Read the requests of a test run: a row for each name and method.", answer=RequestsAnswer, **_TABLE)
def read_requests(call: Call[RowsQuery], slug: str) -> RequestsAnswer:
    """Return the visible requests by key, as the page of the run shows them."""
    run, found = _read_tables(call, slug, "requests")
    shown, following = page_of(request_rows(found), call.query)
    return RequestsAnswer(run=run.slug, requests=shown, next=following)


@reads(summary="Read the errors of a test run: a row for each message.", answer=ErrorsAnswer, **_TABLE)
def read_errors(call: Call[RowsQuery], slug: str) -> ErrorsAnswer:
    """Return the visible errors, as the page of the run shows them."""
    run, found = _read_tables(call, slug, "errors")
    shown, following = page_of(error_rows(found), call.query)
    return ErrorsAnswer(run=run.slug, errors=shown, next=following)


series = by_method(GET=read_series)
requests = by_method(GET=read_requests)
errors = by_method(GET=read_errors)
