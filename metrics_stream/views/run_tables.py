"""The tables of requests and errors on the page of a run, as texts and in its order.

The order comes from the address: `?sort=p95`, and `?sort=-p95` with the least first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest

from metrics_stream.core.formatting import format_number
from metrics_stream.core.metrics.keys import OTHER
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import TestRun
from metrics_stream.runs.row_tables import ErrorTotals, RequestTotals, RowTables, row_tables
from metrics_stream.runs.totals import RunTotals
from metrics_stream.views.asked_span import AskedSpan
from metrics_stream.views.run_facts import remembered

MOST_ROWS = 1_000
"""A longer table is slow to read for people and browsers; the summary file has everything."""

MOST_ERRORS = 200


class Column(NamedTuple):
    """A column of the table of requests: its name in the address, its title, the unit and the value of a row."""

    slug: str
    title: str
    unit: str
    value: Callable[[RunTotals], float | None]


def _percentile(name: str) -> Callable[[RunTotals], float | None]:
    return lambda totals: totals.percentiles.get(name)


COLUMNS = (
    Column("requests", "Requests", "count", lambda totals: totals.requests),
    Column("failures", "Failures", "count", lambda totals: totals.failures),
    Column("failed", "Failed", "ratio", lambda totals: totals.error_rate),
    Column("rate", "Rate", "tps", lambda totals: totals.rate),
    Column("mean", "Average", "ms", lambda totals: totals.mean_ms),
    Column("min", "Fastest", "ms", lambda totals: totals.min_ms),
    Column("p50", "p50", "ms", _percentile("p50")),
    Column("p95", "p95", "ms", _percentile("p95")),
    Column("p99", "p99", "ms", _percentile("p99")),
    Column("max", "Slowest", "ms", lambda totals: totals.max_ms),
    Column("bytes", "Received", "B", lambda totals: totals.received_bytes),
)
NAME = "name"


@dataclass(frozen=True, slots=True)
class Heading:
    """The head of a column; `query` sorts by it, `order` is `ascending`, `descending` or empty."""

    title: str
    query: str
    order: str


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of the table: the parts of its key, and its cells as texts."""

    method: str
    name: str
    rest: str
    is_other: bool
    cells: list[str]


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of the list of errors; `share` is its share of all errors."""

    method: str
    name: str
    message: str
    count: str
    share: str


@dataclass(frozen=True, slots=True)
class Tables:
    """What the page shows; `more_…` is how many further rows there are."""

    headings: list[Heading]
    rows: list[TableRow]
    more_rows: int
    errors: list[ErrorRow]
    more_errors: int


def find_tables(run: TestRun, permit: Permit, span: AskedSpan) -> RowTables:
    """Return the tables of what a permit shows of a span; those of a whole run are remembered."""
    if not span.is_whole:
        return row_tables(run, permit=permit, since=span.since, until=span.until)
    found: RowTables = remembered(run, "tables", permit, lambda: row_tables(run, permit=permit))
    return found


def describe_tables(found: RowTables, request: HttpRequest) -> Tables:
    """Return the tables as texts, in the order that an address asks for; by default the worst row comes first."""
    asked = request.GET.get("sort", "")
    requests = _ordered(found.requests, asked)
    columns = [one for one in COLUMNS if any(one.value(row.totals) is not None for row in requests)]
    occurrences = sum(error.occurrences for error in found.errors)
    return Tables(
        headings=_headings(columns, asked, {name: request.GET[name] for name in ("from", "to") if name in request.GET}),
        rows=[_row(row, columns) for row in requests[:MOST_ROWS]],
        more_rows=len(requests[MOST_ROWS:]),
        errors=[_error(error, occurrences) for error in found.errors[:MOST_ERRORS]],
        more_errors=len(found.errors[MOST_ERRORS:]),
    )


def _ordered(rows: Sequence[RequestTotals], asked: str) -> list[RequestTotals]:
    slug, is_reversed = asked.removeprefix("-"), asked.startswith("-")
    if slug == NAME:
        found = sorted(rows, key=lambda row: row.label.casefold(), reverse=is_reversed)
    elif column := next((one for one in COLUMNS if one.slug == slug), None):
        found = sorted(rows, key=lambda row: column.value(row.totals) or 0.0, reverse=not is_reversed)
    else:
        found = sorted(rows, key=_badness, reverse=True)
    # What was folded together is no request of its own.
    return sorted(found, key=_is_other)


def _badness(row: RequestTotals) -> tuple[float, ...]:
    totals = row.totals
    return (totals.failures or 0.0, totals.percentiles.get("p95") or totals.mean_ms or 0.0, totals.requests or 0.0)


def _is_other(row: RequestTotals) -> bool:
    return row.key.get(NAME) == OTHER


def _headings(columns: Sequence[Column], asked: str, span: Mapping[str, str]) -> list[Heading]:
    found = []
    for slug, title in ((NAME, "Request"), *((one.slug, one.title) for one in columns)):
        # Names ascend at first, numbers descend.
        orders = ("ascending", "descending") if slug == NAME else ("descending", "ascending")
        is_asked, is_reversed = asked.removeprefix("-") == slug, asked.startswith("-")
        following = f"-{slug}" if is_asked and not is_reversed else slug
        order = orders[is_reversed] if is_asked else ""
        found.append(Heading(title, urlencode({**span, "sort": following}, safe=":"), order))
    return found


def _row(row: RequestTotals, columns: Sequence[Column]) -> TableRow:
    rest = {part: value for part, value in row.key.items() if part not in (NAME, "method")}
    return TableRow(
        method=row.key.get("method", ""),
        name=row.key.get(NAME, ""),
        rest=", ".join(f"{part} {value}" for part, value in rest.items()),
        is_other=_is_other(row),
        cells=[format_number(one.value(row.totals), one.unit) for one in columns],
    )


def _error(error: ErrorTotals, occurrences: float) -> ErrorRow:
    return ErrorRow(
        method=error.key.get("method", ""),
        name=error.key.get(NAME, ""),
        message=error.key.get("message", ""),
        count=format_number(error.occurrences, "count"),
        share=format_number(error.occurrences / occurrences, "ratio"),
    )
