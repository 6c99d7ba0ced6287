"""Whether this process can do all it is there for, part by part."""

from __future__ import annotations

import asyncio

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from metrics_stream.core.errors import BusError
from metrics_stream.runs import recorder
from metrics_stream.runtime.runtime import get_runtime

# How long the database may take to answer.
DATABASE_SECONDS = 3.0
# A recorder that was killed is replaced within six seconds, and then has to catch up.
RECORDER_SECONDS = 20.0


async def recorder_lag_seconds() -> float | None:
    """Return how far test runs are behind in being recorded; None when none has to be, or it cannot be known."""
    history = get_runtime().history
    if history is None:
        return None
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            return await recorder.lag_seconds(history)
    except (TimeoutError, DatabaseError, BusError):
        return None  # that part says so itself


async def problems(recorder_lag: float | None = None) -> dict[str, str | None]:
    """Return by part what is wrong with it, None for a part that works; `recorder_lag` is `recorder_lag_seconds`."""
    runtime = get_runtime()
    clients, limit = len(runtime.hub.clients), runtime.settings.max_clients
    return {
        "channel layer": runtime.bus_watch.find_problem(),
        "clients": f"{clients} of {limit} are connected" if clients >= limit else None,
        "database": await _database_problem(),
        "recorder": _recorder_problem(recorder_lag),
    }


def _recorder_problem(lag: float | None) -> str | None:
    return f"test runs are recorded {lag:.0f} s behind" if lag is not None and lag > RECORDER_SECONDS else None


async def _database_problem() -> str | None:
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            missing = await sync_to_async(_missing_migrations)()
    except TimeoutError:
        return f"the database took more than {DATABASE_SECONDS:g} s to answer"
    except DatabaseError as error:
        return f"the database does not answer: {error}"
    return f"{missing} migrations are not applied; run manage.py migrate" if missing else None


def _missing_migrations() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
