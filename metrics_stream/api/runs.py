"""`POST /api/runs/` and below: programs start, keep alive and end test runs, and mark their phases, with a token.

A token can change only the runs that it has started. Other runs look as if they did not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from channels.db import database_sync_to_async
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, JsonResponse
from django.utils import timezone

from metrics_stream.api.programs import Program, publishing_programs_of
from metrics_stream.api.requests import (
    SLUG,
    for_programs,
    make_publication_key,
    read_body,
    read_idempotency_key,
    reject,
)
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import NotRecordedError, RequestRefusedError, RunError, RunOverError, RunStorageError
from metrics_stream.core.formats.runs import (
    START_KEYS,
    PhaseMark,
    Start,
    Stop,
    read_alive,
    read_phase_request,
    read_start,
    read_stop,
)
from metrics_stream.core.formatting import format_timestamp, quote
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.core.run_values import Phase, describe_phases
from metrics_stream.models import AccessToken, TestRun
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runs import lifecycle
from metrics_stream.runs import phases as run_phases
from metrics_stream.runs.liveness import SILENT_RUN_SECONDS
from metrics_stream.runtime.runtime import get_runtime

T = TypeVar("T")

KINDS = ("application/json",)

_HOUR = timedelta(hours=1)

# So many open runs are named when a program has too many.
_MAX_NAMED_RUNS = 5


class _EndedError(RunError):
    """A run has ended; the views answer with its state."""

    def __init__(self, run: TestRun) -> None:
        super().__init__(f"the test run {run.slug!r} has already ended: it is {run.status}")
        self.run = run


@for_programs(AccessToken.Scope.RUNS)
async def start(request: HttpRequest, program: Program) -> JsonResponse:
    """Start a test run; a request that is repeated with its Idempotency-Key starts no second one."""
    await publishing_programs_of(get_runtime()).take_shared(program)
    key = read_idempotency_key(request)
    _, body = read_body(request, KINDS)
    wanted = read_start(body, program.terms.sources)
    start_key = make_publication_key(program, key, body)
    try:
        run, repeated = await query(_start_run, program.pk, wanted, None if start_key is None else start_key.hex())
    except NotRecordedError as error:
        return reject(get_runtime(), RequestErrorCode.RUNS_OFF, str(error))
    except RunError as error:
        return reject(get_runtime(), RequestErrorCode.INVALID_RUN, str(error))
    content = {
        **_describe(run),
        "test": run.test,
        "sources": run.sources,
        "parameters": run.parameters,
        "alive_seconds": lifecycle.ALIVE_SECONDS,
        "silent_seconds": SILENT_RUN_SECONDS,
    }
    return JsonResponse({**content, "repeated": True} if repeated else content, status=201)


@for_programs(AccessToken.Scope.RUNS)
async def keep_alive(request: HttpRequest, program: Program, slug: str) -> JsonResponse:
    """Note that the program of a run still runs."""
    await publishing_programs_of(get_runtime()).take_shared(program)
    read_alive(read_body(request, KINDS, may_be_empty=True)[1])
    try:
        await query(_keep_alive, program.pk, slug)
    except _EndedError as error:
        return _reject_ended(error)
    return JsonResponse({"slug": slug, "alive_seconds": lifecycle.ALIVE_SECONDS})


@for_programs(AccessToken.Scope.RUNS)
async def stop(request: HttpRequest, program: Program, slug: str) -> JsonResponse:
    """End a test run."""
    await publishing_programs_of(get_runtime()).take_shared(program)
    end = read_stop(read_body(request, KINDS, may_be_empty=True)[1])
    try:
        run = await query(_stop_run, program.pk, slug, end)
    except _EndedError as error:
        return _reject_ended(error)
    return JsonResponse(_describe(run))


@for_programs(AccessToken.Scope.RUNS)
async def phases(request: HttpRequest, program: Program, slug: str) -> JsonResponse:
    """Mark a phase of a test run that goes on, or set all phases of one."""
    await publishing_programs_of(get_runtime()).take_shared(program)
    wanted = read_phase_request(read_body(request, KINDS)[1])
    try:
        found = await query(_change_phases, program.pk, slug, wanted)
    except _EndedError as error:
        return _reject_ended(error)
    except RunError as error:
        return reject(get_runtime(), RequestErrorCode.INVALID_RUN, str(error))
    return JsonResponse({"slug": slug, "phases": describe_phases(found)})


def _describe(run: TestRun) -> dict[str, Any]:
    instants = {"started_at": run.started_at, "ended_at": run.ended_at}
    shown = {name: None if at is None else format_timestamp(at.timestamp()) for name, at in instants.items()}
    return {"slug": run.slug, "status": run.status, **shown}


def _reject_ended(error: _EndedError) -> JsonResponse:
    return reject(get_runtime(), RequestErrorCode.RUN_ENDED, str(error), **_describe(error.run))


# --- in the database ---


async def query(call: Callable[..., T], *arguments: Any) -> T:
    """Call a function of the database outside Django's shared thread: a slow page must not delay a keep-alive."""
    try:
        return await database_sync_to_async(call, thread_sensitive=False)(*arguments)
    except (DatabaseError, RunStorageError) as error:
        faults.note_database("a test run of a program cannot be changed", error)
        message = "test runs cannot be changed at the moment; try again later"
        raise RequestRefusedError(RequestErrorCode.UNAVAILABLE, message, retry_seconds=5) from error


def _start_run(token_pk: int, wanted: Start, key: str | None) -> tuple[TestRun, bool]:
    """Return a run, and whether an earlier request with this key has started it."""
    with transaction.atomic():
        # The lock is held to the end, so that processes asked at once start neither a run twice nor too many runs.
        token = AccessToken.objects.select_for_update().filter(pk=token_pk).first()
        if token is None:
            raise RequestRefusedError(RequestErrorCode.NOT_AUTHENTICATED, "the token is unknown")
        if key is not None and (known := TestRun.objects.filter(start_key=key).first()) is not None:
            return known, True
        limit = get_settings().ingest_max_open_runs
        own = TestRun.objects.filter(started_by=token, status__in=lifecycle.OPEN).order_by("started_at")
        slugs = list(own.values_list("slug", flat=True)[:limit])
        if len(slugs) >= limit:
            more = ", …" if len(slugs) > _MAX_NAMED_RUNS else ""
            raise RequestRefusedError(
                RequestErrorCode.TOO_MANY_RUNS,
                f"the token has {len(slugs)} test runs that have not ended; allowed: at most {limit}. Stop one of them:"
                f" {', '.join(slugs[:_MAX_NAMED_RUNS])}{more}",
            )
        _check_runs_of_hour(token)
        run = lifecycle.start(
            **{name: getattr(wanted, name) for name in START_KEYS},
            watched=True,
            started_by=token,
            start_key=key,
        )
        return run, False


def _check_runs_of_hour(token: AccessToken) -> None:
    """Raise RequestRefusedError for a token that has started too many runs within an hour: every run is kept."""
    limit = get_settings().ingest_runs_per_hour
    now = timezone.now()
    since = now - _HOUR
    # Not `started_at`, which a program may give.
    starts = TestRun.objects.filter(started_by=token, created_at__gt=since).order_by("-created_at")
    latest = list(starts.values_list("created_at", flat=True)[:limit])
    if len(latest) == limit:
        oldest = latest[-1]
        raise RequestRefusedError(
            RequestErrorCode.TOO_MANY_REQUESTS,
            f"the token has started {limit} test runs within an hour; allowed: at most {limit}",
            retry_seconds=(oldest - since).total_seconds(),
        )


def _keep_alive(token_pk: int, slug: str) -> None:
    # Called every five seconds for each run, so it is one statement as long as the run is open.
    if not lifecycle.mark_alive(_own_runs(token_pk, slug)):
        raise _EndedError(find_run(token_pk, slug))


def _stop_run(token_pk: int, slug: str, end: Stop) -> TestRun:
    run = find_run(token_pk, slug)
    try:
        return lifecycle.stop(run, end.status, note=end.note)
    except RunOverError:
        raise _EndedError(find_run(token_pk, slug)) from None


def _change_phases(token_pk: int, slug: str, wanted: PhaseMark | list[Phase]) -> list[Phase]:
    run = find_run(token_pk, slug)
    try:
        if isinstance(wanted, PhaseMark):
            return run_phases.mark(run, wanted.name, seconds_ago=wanted.seconds_ago)
        return run_phases.put(run, wanted)
    except RunOverError:
        raise _EndedError(find_run(token_pk, slug)) from None


def _own_runs(token_pk: int, slug: str) -> QuerySet[TestRun]:
    own = TestRun.objects.filter(slug=slug, started_by=token_pk)
    return own if SLUG.fullmatch(slug) else own.none()


def find_run(token_pk: int, slug: str) -> TestRun:
    """Return a run that this token has started; raise RequestRefusedError."""
    found = _own_runs(token_pk, slug).first()
    if found is None:
        message = f"there is no test run {quote(slug)} that this token has started"
        raise RequestRefusedError(RequestErrorCode.UNKNOWN_RUN, message)
    return found
