"""A run as a file for other programs: CSV or NDJSON, made piece by piece while it is sent.

A piece is read and encoded in the thread that Django gives the request, so the event loop, with all its sockets, goes
on meanwhile, and nobody holds more of the run than a piece.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseGone, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_viewers
from metrics_stream.access.grants import access_of
from metrics_stream.core.delivery.selection import permitted_metrics
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.exports import csv_pieces, ndjson_pieces
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.models import TestRun
from metrics_stream.runs import reader
from metrics_stream.views.dashboards import page_cache
from metrics_stream.views.run_lookup import find_run, is_whole

# What becomes a piece at once. That takes some milliseconds, in which the event loop hardly gets the interpreter; then
# it has it for itself until it asks for the next piece.
PIECE_ROWS = 500
PIECE_METRICS = 500

GONE = "The metrics of this run are not kept any more, only their summary is.\n"


@require_safe
@page_cache
@for_viewers
async def export_csv(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Return what was recorded as CSV, one value a row."""
    return await _download(request, slug, "csv", "text/csv; charset=utf-8", csv_file)


@require_safe
@page_cache
@for_viewers
async def export_ndjson(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Return the metrics as they were recorded, one a line, compressed."""
    return await _download(request, slug, "ndjson.gz", "application/gzip", ndjson_file)


def csv_file(run: TestRun, permit: Permit = EVERYTHING) -> Iterator[bytes]:
    """Yield the CSV file of what may be seen of a run."""
    return csv_pieces(permitted_metrics(metrics_of(run), permit), rows=PIECE_ROWS)


def ndjson_file(run: TestRun, permit: Permit = EVERYTHING) -> Iterator[bytes]:
    """Yield the compressed NDJSON file of what may be seen of a run."""
    return ndjson_pieces(permitted_metrics(metrics_of(run), permit), lines=PIECE_METRICS)


def metrics_of(run: TestRun) -> Iterator[Metric]:
    """Yield what was recorded of a run when it was looked up, in the order of publishing.

    Later metrics are not in it, so the file of a run that goes on has an end.
    """
    left = run.metrics_recorded
    for metric in reader.rows(run, until=run.metrics_recorded):
        yield metric
        left -= 1
    if left:
        # A download that breaks off is seen; a file that only ends early is not.
        raise MetricsStreamError(f"{left} metrics of the test run {run.slug!r} were deleted while it was exported")


async def _download(
    request: HttpRequest, slug: str, ending: str, content_type: str, make: Callable[[TestRun, Permit], Iterator[bytes]]
) -> HttpResponseBase:
    access = await sync_to_async(access_of)(request)
    run = await sync_to_async(find_run)(access, slug)
    if not await sync_to_async(is_whole)(run):
        return HttpResponseGone(GONE, content_type="text/plain; charset=utf-8")
    # The file of a run that goes on, or is still being recorded, says in its name until when it has it.
    until = "" if run.recording_ended_at else f"-until-{timezone.now():%Y%m%d-%H%M%S}"
    headers = {"Content-Disposition": f'attachment; filename="{run.slug}{until}.{ending}"'}
    if request.method == "HEAD":
        return HttpResponse(content_type=content_type, headers=headers)
    return StreamingHttpResponse(_streamed(make(run, access.permit)), content_type=content_type, headers=headers)


async def _streamed(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    # Django would read all of a plain iterator before it sends the first byte.
    following = sync_to_async(partial(next, pieces, None))
    while (piece := await following()) is not None:
        yield piece
