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
from metrics_stream.reports.run_rows import rows_of
from metrics_stream.runs import series as run_series
from metrics_stream.runs.open_run import key_of


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


class RowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a run: its sources, the parts of its key, and its figures over the span; null where one is unknown."""

    sources: list[str]
    key: dict[str, str]
    figures: dict[str, float | str | None]


class RowsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the rows of a run; CSV has the sources with spaces between them."""

    run: str
    rows: list[RowAnswer]
    next: Next

    def table(self) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Return the rows as a table: a column for each part of a key and for each figure."""
        parts = list(dict.fromkeys(part for row in self.rows for part in row.key))
        names = list(dict.fromkeys(name for row in self.rows for name in row.figures))
        rows = (
            [
                " ".join(row.sources),
                *(row.key.get(part, "") for part in parts),
                *(row.figures.get(name) for name in names),
            ]
            for row in self.rows
        )
        return ("sources", *parts, *names), rows


def _read_rows(call: Call[RowsQuery], slug: str, metric_type: str) -> RowsAnswer:
    query = call.query
    check_span(query.from_, query.to)
    run = find_run(call.access, slug)
    wanted = check_filters(Filters(sources=query.sources, keys=query.keys), max_terms=get_settings().max_filter_terms)
    rows = rows_of(run, metric_type, call.access.permit, filters=wanted, since=query.from_, until=query.to)
    shown, following = page_of(rows, query)
    call.note(Action.EXPORT, f"{run.slug}: rows of {metric_type}")
    return RowsAnswer(
        run=run.slug,
        rows=[RowAnswer(sources=row.sources, key=row.key, figures=row.figures) for row in shown],
        next=following,
    )


_TABLE: dict[str, Any] = {
    "tag": "Test runs",
    "query": RowsQuery,
    "answer": RowsAnswer,
    "answers_with": (JSON, CSV),
    "errors": (RequestErrorCode.NOT_FOUND,),
    "cost": HIGH_COST,
}


@reads(summary="Read the requests of a test run: a row for each name and method.", **_TABLE)
def read_requests(call: Call[RowsQuery], slug: str) -> RowsAnswer:
    """Return the visible rows of the type `request`."""
    return _read_rows(call, slug, "request")


@reads(summary="Read the errors of a test run: a row for each message.", **_TABLE)
def read_errors(call: Call[RowsQuery], slug: str) -> RowsAnswer:
    """Return the visible rows of the type `error`."""
    return _read_rows(call, slug, "error")


series = by_method(GET=read_series)
requests = by_method(GET=read_requests)
errors = by_method(GET=read_errors)
