"""The tables of a run as programs read them: its requests by name and method, and its errors."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from metrics_stream.runs.row_tables import RowTables


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one key over all sources that report them; what is unknown is null."""

    key: Annotated[dict[str, str], Meta(description="The parts of the key by name: `name`, `method` and others.")]
    label: Annotated[str, Meta(description="The key as people write it: `GET /users`.")]
    sources: list[str]
    requests: float | None
    failures: float | None
    error_rate: Annotated[float | None, Meta(description="Failures divided by requests, from 0 to 1.")]
    rate: Annotated[float | None, Meta(description="Requests per second.")]
    seconds: Annotated[float | None, Meta(description="The time that the counts cover.")]
    mean_ms: float | None
    min_ms: float | None
    max_ms: float | None
    percentiles: Annotated[dict[str, float | None], Meta(description="Of all response times, in ms, by name: p95.")]
    measured: Annotated[int | None, Meta(description="The number of response times in the percentiles.")]
    received_bytes: float | None


class ErrorRow(msgspec.Struct, frozen=True, kw_only=True):
    """How often an error occurred, over all sources that report it."""

    key: Annotated[dict[str, str], Meta(description="The `name` and `method` of the request, and the `message`.")]
    label: str
    sources: list[str]
    occurrences: float


_FIGURES = tuple(name for name in RequestRow.__struct_fields__ if name not in ("key", "label"))


def request_rows(found: RowTables) -> list[RequestRow]:
    """Return the table of requests, by key."""
    return [
        RequestRow(key=row.key, label=row.label, **{name: getattr(row.totals, name) for name in _FIGURES})
        for row in found.requests
    ]


def error_rows(found: RowTables) -> list[ErrorRow]:
    """Return the table of errors, the most frequent first."""
    return [msgspec.convert(row, ErrorRow, from_attributes=True) for row in found.errors]
