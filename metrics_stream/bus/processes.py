"""Speaks with every server process from synchronous code.

Tells them that access has changed, or that a client has to go; asks who is connected, and what was published last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from metrics_stream.bus.bus import AccessChanged, Bus, CloseClient, layer_is_shared, listening_loop
from metrics_stream.conf import get_settings
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.errors import BusError, NotSharedError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import open_history

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Nobody waits longer for it than this; who was not told finds out by himself, within RECHECK_SECONDS.
TELL_SECONDS = 3.0

# Nobody knows how many server processes there are, so whoever asks all of them always waits for so long.
GATHER_SECONDS = 0.7
# The one that has the client answers at once, unless it is very busy.
ANSWER_SECONDS = 2.0


def tell_servers(message: AccessChanged | CloseClient) -> bool:
    """Tell all server processes; return whether they could be told. Never raises, and takes at most TELL_SECONDS."""
    home = listening_loop()
    try:
        if home is not None and _runs_here(home):
            asyncio.run_coroutine_threadsafe(_tell(message), home)
        else:
            _run(lambda: _tell(message), TELL_SECONDS + 1)
    except NotSharedError:
        return False  # no server runs, so nobody has to know
    except (BusError, TimeoutError) as error:
        logger.warning("the server processes could not be told that access has changed: %s", error)
        return False
    return True


def gather_clients() -> list[dict[str, Any]]:
    """Return the statistics of every server process, with those of its clients; raise BusError.

    As all that asks here, it is not for code that runs in the event loop of a server.
    """
    if _is_deserted():
        return []
    return _ask(lambda: _bus().gather_stats(wait_seconds=GATHER_SECONDS))


def ask_about_client(question: Question) -> dict[str, Any] | None:
    """Return what the server process that has a client answers, None when none has it; raise BusError."""
    if _is_deserted():
        return None
    return _ask(lambda: _bus().ask_about_client(question, wait_seconds=ANSWER_SECONDS))


def newest_metrics(metric_types: Sequence[str]) -> list[Metric]:
    """Return the newest metric of each source and its agents, as the history has them, the newest first."""
    history = open_history(get_settings())
    if history is None:
        return []
    batches = _ask(lambda: history.newest(metric_types))
    found = [metric for batch in batches for metric in batch.metrics]
    return sorted(found, key=lambda metric: metric.timestamp, reverse=True)


def _is_deserted() -> bool:
    """Return whether no server process could hear: the in-memory layer is this one's, and nobody listens here."""
    return not layer_is_shared() and listening_loop() is None


def _bus() -> Bus:
    return Bus(group_prefix=get_settings().group_prefix, timeout_seconds=TELL_SECONDS)


def _ask(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return _run(work, TELL_SECONDS + ANSWER_SECONDS + 1)
    except TimeoutError as error:
        raise BusError("the server processes could not be asked in time") from error


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _run(work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
    """Return what `work` returns, done on the loop of this process's hub, or where there is none on one of its own."""
    home = listening_loop()
    if home is not None:
        return asyncio.run_coroutine_threadsafe(work(), home).result(seconds)
    # In a thread of its own, since an event loop may run in this one.
    results: list[T] = []
    errors: list[BusError] = []

    def run() -> None:
        try:
            results.append(asyncio.run(_and_leave(work)))
        except BusError as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="metrics-control", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"it took more than {seconds:g} s")
    return results[0]


async def _and_leave(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return await work()
    finally:
        if layer_is_shared():
            with contextlib.suppress(BusError):
                await _bus().reset()


async def _tell(message: AccessChanged | CloseClient) -> None:
    bus = _bus()
    bus.check_reach()
    await bus.tell_processes(message)
