"""Pages that say how this process fares, for load balancers, Prometheus and staff."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from asgiref.sync import sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from metrics_stream.access.grants import access_of_user, sees_connections
from metrics_stream.access.visibility import visible_statistics
from metrics_stream.core.errors import BusError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.observation.faults import ADVISORY, PARTS, FaultKind
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runs import recorder
from metrics_stream.runtime import runtime
from metrics_stream.views.prometheus import exposition

# The database must answer within this time.
DATABASE_SECONDS = 3.0
# How often the process looks after its database and its recorder by itself.
WATCH_SECONDS = 10.0
# A recorder that was killed is replaced within six seconds, and then has to catch up.
RECORDER_SECONDS = 20.0


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer `ok`, without asking the database or the channel layer."""
    return HttpResponse("ok", content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
async def stats(request: HttpRequest) -> JsonResponse:
    """Return the statistics of the process that answers, for those who may see the page Connections.

    It is asynchronous because the statistics belong to the event loop that serves the WebSockets.
    """
    user = await request.auser()
    if not await sync_to_async(sees_connections)(user):
        message = "the statistics are for staff who may view connections; log in at the admin first"
        return JsonResponse({"error": message}, status=403)
    permit = (await sync_to_async(access_of_user)(cast(AbstractBaseUser, user))).permit
    return JsonResponse(visible_statistics(runtime.snapshot(), permit))


@require_safe
@never_cache
async def metrics(request: HttpRequest) -> HttpResponse:
    """Return the counters of all server processes of this `manage.py serve` in the Prometheus format."""
    alive, gone = runtime.samples()
    body, content_type = exposition(alive, gone, accept=request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)


@require_safe
@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether each part of this process works; the status is 503 if one does not."""
    lag = await recorder_lag_seconds()
    found = await problems(lag)
    checks = {part: problem or "ok" for part, problem in found.items()}
    ready = not any(problem for part, problem in found.items() if part not in ADVISORY)
    answer = {
        "ready": ready,
        "checks": checks,
        "faults": [
            {"fault": fault.kind, "since": format_timestamp(fault.began_at), "message": fault.message}
            for fault in faults.current()
        ],
        "recorder_lag_seconds": None if lag is None else round(lag, 1),
        "clock_skew_seconds": {
            name: round(skew, 3) for name, skew in runtime.get_runtime().clocks.skew_seconds.items()
        },
    }
    response = JsonResponse(answer, status=200 if ready else 503)
    # Django would log each answer of 503; the log has the faults already, once.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


async def watch_parts() -> None:
    """Note the faults of the database and the recorder until cancelled, also when nobody asks `/readyz`."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        # To look for missing migrations takes long; only a request for `/readyz` finds that they are missing.
        find = _ask_again if faults.has(FaultKind.DATABASE) else _ask_database
        _note(FaultKind.DATABASE, await _database_problem(find))
        _note(FaultKind.RECORDING_LATE, _recorder_problem(await recorder_lag_seconds()))


def _note(kind: FaultKind, problem: str | None) -> None:
    if problem is None:
        faults.end(kind)
    else:
        faults.begin(kind, problem)


async def recorder_lag_seconds() -> float | None:
    """Return how many seconds the recording of test runs is behind; None if nothing is recorded or it is unknown."""
    history = runtime.get_runtime().history
    if history is None:
        return None
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            return await recorder.lag_seconds(history)
    except (TimeoutError, DatabaseError, BusError):
        return None  # `problems` reports that part


async def problems(recorder_lag: float | None = None) -> dict[str, str | None]:
    """Return the problem of each part, None where it works; `recorder_lag` comes from `recorder_lag_seconds`."""
    process = runtime.get_runtime()
    find = _ask_again if faults.has(FaultKind.DATABASE) else _missing_migrations
    _note(FaultKind.DATABASE, await _database_problem(find))
    _note(FaultKind.RECORDING_LATE, _recorder_problem(recorder_lag))
    silence = process.bus_watch.find_problem()
    if silence is not None and faults.has(FaultKind.CHANNEL_LAYER):
        faults.begin(FaultKind.CHANNEL_LAYER, silence)  # The reason of this moment.
    current = faults.current()
    found: dict[str, str | None] = {
        part: "; ".join(fault.message for fault in current if PARTS[fault.kind] == part) or None
        for part in PARTS.values()
    }
    # A process that is not ready yet, or full for this moment, has no fault.
    found["channel layer"] = found["channel layer"] or silence
    found["clients"] = process.statistics.find_clients_problem()
    return found


def _recorder_problem(lag: float | None) -> str | None:
    return f"test runs are recorded {lag:.0f} s behind" if lag is not None and lag > RECORDER_SECONDS else None


async def _database_problem(find: Callable[[], int]) -> str | None:
    """Return what is wrong with the database; `find` returns the number of missing migrations, if it looks for them."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            missing = await sync_to_async(find)()
    except TimeoutError:
        return f"the database took more than {DATABASE_SECONDS:g} s to answer"
    except DatabaseError as error:
        return f"the database does not answer: {error}"
    return f"{missing} migrations are not applied; run manage.py migrate" if missing else None


def _ask_database() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return 0


def _ask_again() -> int:
    """Raise DatabaseError unless the database can be written to; return the number of missing migrations."""
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        # A database that another program has locked still answers what only reads, and would seem to work again.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            [milliseconds] = cursor.fetchone()
            cursor.execute("PRAGMA busy_timeout = 0")  # The requests of this process need this thread.
            try:
                cursor.execute("BEGIN IMMEDIATE")
                cursor.execute("ROLLBACK")
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {milliseconds}")
    return _missing_migrations()


def _missing_migrations() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
