"""`POST /api/v1/runs/<slug>/compare/`: a test run beside the result file of the tool that made its load.

A token compares the runs that it may read, with the metrics that it may see, as in exports. Other runs look as if they
did not exist.
"""

from __future__ import annotations

import asyncio
import math

from channels.db import database_sync_to_async
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse

from metrics_stream.access.credentials import ProgramToken
from metrics_stream.access.grants import Access, resolve
from metrics_stream.access.visibility import visible_runs
from metrics_stream.api.programs import Program, publishing_programs_of
from metrics_stream.api.requests import SLUG, for_programs, read_body
from metrics_stream.audit.trail import Action, address_of, note
from metrics_stream.core.errors import AccessRefusedError, BodyError, RequestRefusedError, ResultFileError
from metrics_stream.core.formats.results.figures import Results
from metrics_stream.core.formats.results.numbers import read_number
from metrics_stream.core.formats.results.reading import read_results
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.models import AccessToken, TestRun
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.reports.comparison import MAX_TOLERANCE_PERCENT, Comparison, compare
from metrics_stream.reports.run_totals import RULES, named_totals_of, totals_of
from metrics_stream.runtime.runtime import get_runtime

KINDS = (
    *("application/octet-stream", "text/plain", "text/csv", "text/xml"),
    *("application/json", "application/xml", "application/csv"),
)


@for_programs(AccessToken.Scope.SUBSCRIBE)
async def compare_run(request: HttpRequest, program: Program, slug: str) -> JsonResponse:
    """Return the figures of a run and of the result file in the body, and how far they differ."""
    await publishing_programs_of(get_runtime()).take_shared(program)
    _, body = read_body(request, KINDS)
    tolerance = _read_tolerance(request.GET.get("tolerance"))
    results = await asyncio.to_thread(_read_file, body, request.GET.get("format"))
    comparison = await _compare(program.pk, slug, results, tolerance, address_of(request))
    return JsonResponse(comparison.describe())


def _read_tolerance(text: str | None) -> float:
    try:
        number = read_number(text, "tolerance") or 0.0
    except ResultFileError:
        number = math.inf
    if number > MAX_TOLERANCE_PERCENT:
        message = f"tolerance is {quote(text)}; allowed: a number of per cent from 0 to {MAX_TOLERANCE_PERCENT:g}"
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, message)
    return number


def _read_file(body: bytes, form: str | None) -> Results:
    try:
        return read_results(body, form or None)
    except ResultFileError as error:
        raise BodyError(RequestErrorCode.NOT_A_DOCUMENT, str(error)) from error


async def _compare(token_pk: int, slug: str, results: Results, tolerance: float, address: str) -> Comparison:
    # Outside Django's shared thread: reading a run must not delay pages.
    call = database_sync_to_async(_compare_visible, thread_sensitive=False)
    try:
        return await call(token_pk, slug, results, tolerance, address)
    except AccessRefusedError as error:
        raise RequestRefusedError(RequestErrorCode.FORBIDDEN, str(error)) from error
    except DatabaseError as error:
        faults.note_database("a test run cannot be read for a comparison", error)
        message = "test runs cannot be read at the moment; try again later"
        raise RequestRefusedError(RequestErrorCode.UNAVAILABLE, message, retry_seconds=5) from error


def _compare_visible(token_pk: int, slug: str, results: Results, tolerance: float, address: str) -> Comparison:
    access = resolve(ProgramToken(token_pk))
    run = _find_visible(access, slug)
    note(Action.EXPORT, access.who, f"{run.slug} compared with {results.format}", address=address)
    totals, named = totals_of(run, access.permit), named_totals_of(run, access.permit)
    return compare(run.slug, totals, results, named=named, tolerance_percent=tolerance, run_rules=RULES)


def _find_visible(access: Access, slug: str) -> TestRun:
    run = visible_runs(access).filter(slug=slug).first() if SLUG.fullmatch(slug) else None
    if run is None:
        message = f"there is no test run {quote(slug)} that this token may read"
        raise RequestRefusedError(RequestErrorCode.UNKNOWN_RUN, message)
    return run
