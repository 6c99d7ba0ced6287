"""The answers of the API as JSON or CSV, with an ETag, and pages that follow one another."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Protocol, TypeVar, cast, runtime_checkable

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, patch_vary_headers
from msgspec import Meta

from metrics_stream.core.errors import RequestRefusedError
from metrics_stream.core.formats.operations import CSV, JSON, Operation
from metrics_stream.core.formats.queries import Format, ShortText
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.core.spreadsheets import without_formulas

Row = TypeVar("Row")

MAX_LIMIT = 1_000

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="The number of entries of a page.")]
Cursor = Annotated[ShortText | None, Meta(description="What the page before has as next; without it, the first page.")]
Next = Annotated[str | None, Meta(description="The cursor of the next page; null on the last one.")]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a list that comes in pages, as JSON or CSV."""

    limit: Limit = 100
    cursor: Cursor = None
    format: Format = None


@runtime_checkable
class Table(Protocol):
    """An answer that can be written as CSV."""

    def table(self) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Return the names of the columns, and the rows."""


def respond(request: HttpRequest, content: Any, operation: Operation) -> HttpResponseBase:
    """Return the answer with this content; 304 if the reader has it already."""
    if content is None:
        return HttpResponse(status=operation.status)
    content_type, status = _choose_type(request, operation), operation.status
    if isinstance(content, HttpResponse):  # made for a page as well
        body, status = content.content, content.status_code
    else:
        body = _as_csv(content) if content_type == CSV else msgspec.json.encode(content)
    etag = f'"{blake2b(content_type.encode() + body, digest_size=16).hexdigest()}"'
    response = HttpResponse(
        body,
        status=status,
        content_type=f"{CSV}; charset=utf-8" if content_type == CSV else JSON,
        headers={"ETag": etag},
    )
    if (following := getattr(content, "next", None)) is not None:
        query = request.GET.copy()
        query["cursor"] = following
        response["Link"] = f'<{request.build_absolute_uri(request.path)}?{query.urlencode()}>; rel="next"'
    if request.method in ("GET", "HEAD"):
        response = cast(HttpResponse, get_conditional_response(request, etag=etag, response=response))
    response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Authorization", "Cookie", "Accept"])
    return response


def _choose_type(request: HttpRequest, operation: Operation) -> str:
    offered = operation.answers_with
    if CSV not in offered:
        return offered[0]
    if (named := request.GET.get("format")) in ("csv", "json"):
        return CSV if named == "csv" else JSON
    return request.get_preferred_type(list(offered)) or offered[0]


def _as_csv(content: Any) -> bytes:
    assert isinstance(content, Table), "only answers that are tables are offered as CSV"
    columns, rows = content.table()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return without_formulas(value)
        case list() | tuple() | dict():
            return without_formulas(msgspec.json.encode(value).decode())
        case _:
            return value


# --- pages of lists that are made anew for each request ---


def page_of(rows: Sequence[Row], query: PageQuery) -> tuple[list[Row], str | None]:
    """Return a page of rows in a stable order, and the cursor of the next one; raise RequestRefusedError."""
    first = read_offset(query.cursor)
    end = first + query.limit
    return list(rows[first:end]), str(end) if end < len(rows) else None


def read_offset(cursor: str | None) -> int:
    """Return the number of rows before a page; raise RequestRefusedError."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise wrong_cursor(cursor)
    return int(cursor)


def wrong_cursor(cursor: str) -> RequestRefusedError:
    """Return the error for a cursor that no page has given."""
    message = f"`cursor` is {quote(cursor)}; allowed: the `next` of a page of the same list"
    return RequestRefusedError(RequestErrorCode.INVALID_PARAMETER, message)
