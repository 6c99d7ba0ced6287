"""Recorded metrics as files: CSV with one value per row, and NDJSON with one metric per line; the run itself as JSON.

A file is made in pieces while it is sent, so no process holds more of a run than one piece. Each piece is read and
encoded in the thread of the request, so the event loop serves its WebSockets in the meantime.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseGone, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_viewers
from metrics_stream.access.grants import access_of
from metrics_stream.access.run_lookup import find_run, is_whole
from metrics_stream.audit.trail import Action, address_of, note
from metrics_stream.core.delivery.selection import permitted_metrics
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.metrics.annotations import annotations_of, stated_for
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.paths import MISSING, look_up
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.metrics.summaries import SKETCHES
from metrics_stream.core.spreadsheets import without_formulas
from metrics_stream.models import SeriesGroup, TestRun
from metrics_stream.reports.run_description import describe
from metrics_stream.runs import reader
from metrics_stream.runs.clock import database_now
from metrics_stream.views.dashboards import page_cache

# The size of a piece. One takes some milliseconds, in which the event loop hardly runs; then it has the interpreter
# until it asks for the next piece.
PIECE_ROWS = 500
PIECE_METRICS = 500

COLUMNS = ("timestamp", "metric_type", "source", "agent_id", "field", "value")
# They follow in the file of a run whose producers state units or windows.
STATED_COLUMNS = ("unit", "window_seconds")

# Values that are nested deeper are written as JSON.
_MAX_DEPTH = 50

GONE = "The metrics of this run are not kept any more, only their summary is.\n"


@require_safe
@page_cache
@for_viewers
async def export_csv(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Return the recorded metrics of a run as CSV, one value per row."""
    return await _download(request, slug, "csv", "text/csv; charset=utf-8", csv_file)


@require_safe
@page_cache
@for_viewers
async def export_ndjson(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Return the recorded metrics of a run as compressed NDJSON, one metric per line."""
    return await _download(request, slug, "ndjson.gz", "application/gzip", ndjson_file)


@require_safe
@page_cache
@for_viewers
def export_run(request: HttpRequest, slug: str) -> HttpResponse:
    """Return what a run says of itself as JSON: test, parameters, phases, start and end."""
    access = access_of(request)
    run = find_run(access, slug)
    note(Action.EXPORT, access.who, f"{run.slug}.json", address=address_of(request))
    content = describe(run, access.permit.visible_sources(map(str, run.sources)))
    headers = {"Content-Disposition": f'attachment; filename="{run.slug}.json"'}
    body = msgspec.json.format(msgspec.json.encode(content), indent=2)
    return HttpResponse(body + b"\n", content_type="application/json", headers=headers)


def csv_file(run: TestRun, permit: Permit = EVERYTHING) -> Iterator[bytes]:
    """Yield the CSV file of the permitted part of a run."""
    is_stated = SeriesGroup.objects.filter(run=run).exclude(units={}, windows={}).exists()
    yield from csv_pieces(permitted_metrics(metrics_of(run), permit), rows=PIECE_ROWS, is_stated=is_stated)


def ndjson_file(run: TestRun, permit: Permit = EVERYTHING) -> Iterator[bytes]:
    """Yield the compressed NDJSON file of the permitted part of a run."""
    return ndjson_pieces(permitted_metrics(metrics_of(run), permit), lines=PIECE_METRICS)


def metrics_of(run: TestRun) -> Iterator[Metric]:
    """Yield the metrics that were recorded when the run was loaded, in publishing order.

    Later metrics are left out, so that the file of an active run has an end.
    """
    left = run.metrics_recorded
    for metric in reader.rows(run, until=run.metrics_recorded):
        yield metric
        left -= 1
    if left:
        # A person notices a download that breaks off, but not a file that ends early.
        raise MetricsStreamError(f"{left} metrics of the test run {run.slug!r} were deleted while it was exported")


async def _download(
    request: HttpRequest, slug: str, ending: str, content_type: str, make: Callable[[TestRun, Permit], Iterator[bytes]]
) -> HttpResponseBase:
    access = await sync_to_async(access_of)(request)
    run = await sync_to_async(find_run)(access, slug)
    if not await sync_to_async(is_whole)(run):
        return HttpResponseGone(GONE, content_type="text/plain; charset=utf-8")
    note(Action.EXPORT, access.who, f"{run.slug}.{ending}", address=address_of(request))
    # The name of the file says how far it reaches where the recording goes on.
    until = "" if run.recording_ended_at else f"-until-{await sync_to_async(database_now)():%Y%m%d-%H%M%S}"
    headers = {"Content-Disposition": f'attachment; filename="{run.slug}{until}.{ending}"'}
    if request.method == "HEAD":
        return HttpResponse(content_type=content_type, headers=headers)
    return StreamingHttpResponse(_streamed(make(run, access.permit)), content_type=content_type, headers=headers)


async def _streamed(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    # Django would read all of a synchronous iterator before it sends the first byte.
    following = sync_to_async(partial(next, pieces, None))
    while (piece := await following()) is not None:
        yield piece


class _Body(msgspec.Struct):
    timestamp: str
    data: Any
    units: dict[str, str] | None = None
    windows: dict[str, float] | None = None


_decode = msgspec.json.Decoder(_Body).decode


def csv_pieces(metrics: Iterable[Metric], *, rows: int, is_stated: bool = False) -> Iterator[bytes]:
    """Yield the CSV file of metrics, `rows` rows at a time: one row per value, in the order of the metrics.

    A field inside an object is named by its dotted path, one inside a list by its index. Where a key with dots has the
    same name as a path, the row is what the name means everywhere else. Numbers stay as they are. A
    text that a spreadsheet would read as a formula gets an apostrophe in front. The value of null is empty. Sketches
    are left out. With `is_stated` the rows have the unit and the window of their field, if its producer stated them.
    """
    columns = (*COLUMNS, *STATED_COLUMNS) if is_stated else COLUMNS
    found = chain([columns], (row[: len(columns)] for metric in metrics for row in _rows(metric)))
    while piece := list(islice(found, rows)):
        text = io.StringIO()
        csv.writer(text).writerows(piece)
        yield text.getvalue().encode()


def _rows(metric: Metric) -> Iterator[tuple[Any, ...]]:
    body = _decode(metric.body)
    annotations = annotations_of(body.units, body.windows)
    before = (body.timestamp, metric.metric_type, _cell(metric.source))
    for agent_id, data in _entries(body.data):
        agent = _cell(agent_id)
        if isinstance(data, dict):
            data.pop(SKETCHES, None)
        leaves: Iterable[tuple[str, Any]] = _leaves(data, "", 0)
        if _has_dots(data, 0):
            leaves = {field: value for field, value in leaves if _is_named(data, field, value)}.items()
        for field, value in leaves:
            unit, window_seconds = stated_for(annotations, field)
            yield (*before, agent, _cell(field), _cell(value), _cell(unit), window_seconds)


def _has_dots(data: Any, depth: int) -> bool:
    """Return whether a key contains a dot."""
    return (
        isinstance(data, dict)
        and depth <= _MAX_DEPTH
        and any("." in key or _has_dots(value, depth + 1) for key, value in data.items())
    )


def _is_named(data: Any, field: str, value: Any) -> bool:
    """Return whether the field names this value, and not another one; parts of lists have no names."""
    found = look_up(data, field)
    return found is value or found is MISSING


def _entries(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the data of a metric as (agent id, object): first without an agent, then of each agent."""
    if isinstance(data, list):
        yield from _agents(data)
        return
    agents = data.get("agents")
    if isinstance(agents, dict) and all(isinstance(entry, dict) for entry in agents.values()):
        agents = [{**entry, "agent_id": agent_id} for agent_id, entry in agents.items()]
    if isinstance(agents, list):
        yield "", {name: value for name, value in data.items() if name != "agents"}
        yield from _agents(agents)
    else:
        yield "", data


def _agents(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        if isinstance(entry, dict):
            yield str(entry.pop("agent_id", "")), entry
        else:
            yield "", entry


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_DEPTH:
        yield path, msgspec.json.encode(value).decode()
        return
    match value:
        case dict():
            children: Iterable[tuple[Any, Any]] = value.items()
        case list():
            children = enumerate(value)
        case _:
            yield path, value
            return
    for key, item in children:
        yield from _leaves(item, f"{path}.{key}" if path else str(key), depth + 1)


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return without_formulas(value)
        case _:
            return value


def ndjson_pieces(metrics: Iterable[Metric], *, lines: int) -> Iterator[bytes]:
    """Yield the NDJSON file of metrics, compressed with gzip: each line is a metric as clients got it."""
    # 16 + 15: a gzip file with the largest window. It holds no time, so the same run gives the same file.
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    bodies = (metric.body for metric in metrics)
    while piece := list(islice(bodies, lines)):
        # The compressor returns nothing until it has enough input.
        if ready := compressor.compress(b"\n".join([*piece, b""])):
            yield ready
    yield compressor.flush()
