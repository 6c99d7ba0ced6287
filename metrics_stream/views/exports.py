"""Recorded metrics as files: CSV, and NDJSON with one metric per line; the run itself as JSON.

A file is made in pieces while it is sent, so no process holds more of a run than one piece. Each piece is read and
encoded in the thread of the request, so the event loop serves its WebSockets in the meantime.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import msgspec
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseGone, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_viewers
from metrics_stream.access.grants import access_of
from metrics_stream.access.run_lookup import find_run, is_whole
from metrics_stream.audit.trail import Action, address_of, note
from metrics_stream.core.delivery.selection import permitted_metrics
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import SLUG_PATTERN
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.models import SeriesGroup, TestRun
from metrics_stream.reports.run_description import describe
from metrics_stream.runs import reader
from metrics_stream.runs.clock import database_now
from metrics_stream.views.csv_files import csv_pieces, fields_of, key_columns, wide_pieces
from metrics_stream.views.dashboards import page_cache

# The size of a piece. One takes some milliseconds, in which the event loop hardly runs; then it has the interpreter
# until it asks for the next piece.
PIECE_ROWS = 500
PIECE_METRICS = 500

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
async def export_wide(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Return the recorded metrics of one type as CSV, one metric or row of it per row, one field per column."""
    metric_type = request.GET.get("type", "")
    if SLUG_PATTERN.fullmatch(metric_type) is None:
        message = f"`type` is {quote(metric_type)}; allowed: the metric type that the file is of, such as request\n"
        return HttpResponseBadRequest(message, content_type="text/plain; charset=utf-8")
    make = partial(wide_file, metric_type=metric_type)
    return await _download(request, slug, "wide.csv", "text/csv; charset=utf-8", make)


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
    found = permitted_metrics(metrics_of(run), permit)
    yield from csv_pieces(found, rows=PIECE_ROWS, is_stated=is_stated, parts=key_columns(run, permit))


def wide_file(run: TestRun, permit: Permit, metric_type: str) -> Iterator[bytes]:
    """Yield the wide CSV file of the permitted metrics of one type in a run; it reads the run twice."""

    def found() -> Iterator[Metric]:
        of_type = (metric for metric in metrics_of(run) if metric.metric_type == metric_type)
        return permitted_metrics(of_type, permit)

    yield from wide_pieces(found(), fields_of(found()), rows=PIECE_ROWS, parts=key_columns(run, permit, metric_type))


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
