"""`POST /api/runs/` and below: programs start, keep alive and end test runs from outside, with a token.

A token changes only the runs that it has started. What others have started looks like what does not exist.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

from channels.db import database_sync_to_async
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, JsonResponse

from metrics_stream.api.programs import Program
from metrics_stream.api.requests import body_of, for_programs, idempotency_key, key_of, refuse
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import NotRecordedError, RequestRefusedError, RunError, RunOverError, RunStorageError
from metrics_stream.core.formats.runs import Start, Stop, read_alive, read_start, read_stop
from metrics_stream.core.formatting import format_timestamp, quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.models import AccessToken, TestRun
from metrics_stream.runs import lifecycle as runs
from metrics_stream.runs.recorder import SILENT_RUN_SECONDS
from metrics_stream.runtime.runtime import get_runtime

logger = logging.getLogger(__name__)

T = TypeVar("T")

KINDS = ("application/json",)

# What may be looked for: no database is asked for other texts, some of which cannot take all of them.
_SLUG = re.compile(r"[-\w]{1,150}", re.ASCII)

# How many of its runs a program is told of when it has too many.
_MOST_NAMED = 5


class _Over(RunError):
    """A run has ended, as `run` says."""

    def __init__(self, run: TestRun) -> None:
        super().__init__(f"the test run {run.slug!r} has ended already: it is {run.status}")
        self.run = run


@for_programs(AccessToken.Scope.RUNS)
async def start(request: HttpRequest, program: Program) -> JsonResponse:
    """Start a test run; a request that comes again with its Idempotency-Key starts nothing more."""
    key = key_of(request)
    _, body = body_of(request, KINDS)
    wish = read_start(body, program.terms.sources)
    known = idempotency_key(program, key, body)
    try:
        run, repeated = await _asked(_start, program.pk, wish, None if known is None else known.hex())
    except NotRecordedError as error:
        return refuse(get_runtime(), RequestErrorCode.RUNS_OFF, str(error))
    except RunError as error:
        return refuse(get_runtime(), RequestErrorCode.INVALID_RUN, str(error))
    content = {
        **_described(run),
        "sources": run.sources,
        "alive_seconds": runs.ALIVE_SECONDS,
        "silent_seconds": SILENT_RUN_SECONDS,
    }
    return JsonResponse({**content, "repeated": True} if repeated else content, status=201)


@for_programs(AccessToken.Scope.RUNS)
async def keep_alive(request: HttpRequest, program: Program, slug: str) -> JsonResponse:
    """Take down that the program of a run is still there."""
    read_alive(body_of(request, KINDS, may_be_empty=True)[1])
    try:
        await _asked(_keep_alive, program.pk, slug)
    except _Over as over:
        return _refuse_over(over)
    return JsonResponse({"slug": slug, "alive_seconds": runs.ALIVE_SECONDS})


@for_programs(AccessToken.Scope.RUNS)
async def stop(request: HttpRequest, program: Program, slug: str) -> JsonResponse:
    """End a test run."""
    wish = read_stop(body_of(request, KINDS, may_be_empty=True)[1])
    try:
        run = await _asked(_stop, program.pk, slug, wish)
    except _Over as over:
        return _refuse_over(over)
    return JsonResponse(_described(run))


def _described(run: TestRun) -> dict[str, Any]:
    instants = {"started_at": run.started_at, "ended_at": run.ended_at}
    shown = {name: None if at is None else format_timestamp(at.timestamp()) for name, at in instants.items()}
    return {"slug": run.slug, "status": run.status, **shown}


def _refuse_over(over: _Over) -> JsonResponse:
    return refuse(get_runtime(), RequestErrorCode.RUN_ENDED, str(over), **_described(over.run))


# --- in the database, in a thread of its own: a page that takes long must not hold up who says that it is alive ---


async def _asked(ask: Callable[..., T], *arguments: Any) -> T:
    try:
        return await database_sync_to_async(ask, thread_sensitive=False)(*arguments)
    except (DatabaseError, RunStorageError) as error:
        logger.warning("a test run of a program cannot be changed: %s", str(error).strip().partition("\n")[0])
        message = "test runs cannot be changed at the moment; come back"
        raise RequestRefusedError(RequestErrorCode.UNAVAILABLE, message, retry_seconds=5) from error


def _start(token_pk: int, wish: Start, key: str | None) -> tuple[TestRun, bool]:
    """Return a run, and whether a request with this key has started it before."""
    with transaction.atomic():
        # Held to the end, so that processes which are asked at once neither start a run twice nor too many.
        token = AccessToken.objects.select_for_update().filter(pk=token_pk).first()
        if token is None:
            raise RequestRefusedError(RequestErrorCode.NOT_AUTHENTICATED, "the token is unknown")
        if key is not None and (known := TestRun.objects.filter(start_key=key).first()) is not None:
            return known, True
        most = get_settings().ingest_max_open_runs
        own = TestRun.objects.filter(started_by=token, status__in=runs.OPEN).order_by("started_at")
        slugs = list(own.values_list("slug", flat=True)[:most])
        if len(slugs) >= most:
            more = ", …" if len(slugs) > _MOST_NAMED else ""
            raise RequestRefusedError(
                RequestErrorCode.TOO_MANY_RUNS,
                f"the token has {len(slugs)} test runs that have not ended; allowed: at most {most}. Stop one of them: "
                f"{', '.join(slugs[:_MOST_NAMED])}{more}",
            )
        run = runs.start(
            wish.name,
            sources=wish.sources,
            target_tps=wish.target_tps,
            tags=wish.tags,
            notes=wish.notes,
            watched=True,
            started_by=token,
            start_key=key,
        )
        return run, False


def _keep_alive(token_pk: int, slug: str) -> None:
    # Every five seconds for each run, so it is one statement as long as nothing is wrong.
    if not runs.mark_alive(_own(token_pk, slug)):
        raise _Over(_find(token_pk, slug))


def _stop(token_pk: int, slug: str, wish: Stop) -> TestRun:
    run = _find(token_pk, slug)
    try:
        return runs.stop(run, wish.status, note=wish.note)
    except RunOverError:
        raise _Over(_find(token_pk, slug)) from None


def _own(token_pk: int, slug: str) -> QuerySet[TestRun]:
    own = TestRun.objects.filter(slug=slug, started_by=token_pk)
    return own if _SLUG.fullmatch(slug) else own.none()


def _find(token_pk: int, slug: str) -> TestRun:
    """Return a run that this token has started; raise RequestRefused."""
    found = _own(token_pk, slug).first()
    if found is None:
        message = f"there is no test run {quote(slug)} that this token has started"
        raise RequestRefusedError(RequestErrorCode.UNKNOWN_RUN, message)
    return found
