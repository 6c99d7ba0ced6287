"""Messages and questions from synchronous code to every server process.

Tell them that permissions or definitions have changed, or that a client must go; ask which clients are connected; read
the newest metrics of the history. Call the functions that ask or read from threads only, never in the event loop of a
server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from metrics_stream.bus.bus import Bus, layer_is_shared, listening_loop
from metrics_stream.bus.messages import ToProcesses
from metrics_stream.conf import get_settings
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.errors import BusError, NotSharedError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import open_history

T = TypeVar("T")

logger = logging.getLogger(__name__)

# A change in the admin waits for this long at most; a server that missed the message checks within RECHECK_SECONDS.
TELL_SECONDS = 3.0

# The number of server processes is unknown, so a question to all of them always waits for this long.
GATHER_SECONDS = 0.7
# The process that has the client answers at once, unless it is very busy.
ANSWER_SECONDS = 2.0


def tell_servers(message: ToProcesses) -> bool:
    """Send a message to all server processes; return whether it was sent.

    Never raise, and take at most TELL_SECONDS.
    """
    home = listening_loop()
    try:
        if home is not None and _is_running_loop(home):
            asyncio.run_coroutine_threadsafe(_send_to_processes(message), home)
        else:
            _run(lambda: _send_to_processes(message), TELL_SECONDS + 1)
    except NotSharedError:
        return False  # no server runs, so there is nothing to tell
    except (BusError, TimeoutError) as error:
        logger.warning("the server processes could not be told of a change: %s", error)
        return False
    return True


def gather_clients() -> list[dict[str, Any]]:
    """Return the statistics of every server process, including those of its clients; raise BusError."""
    if not _has_servers():
        return []
    return _run_or_raise(lambda: _bus().gather_stats(wait_seconds=GATHER_SECONDS))


def ask_about_client(question: Question) -> dict[str, Any] | None:
    """Return the answer of the server process that has a client, None if no process has it; raise BusError."""
    if not _has_servers():
        return None
    return _run_or_raise(lambda: _bus().ask_about_client(question, wait_seconds=ANSWER_SECONDS))


def newest_metrics(metric_types: Sequence[str]) -> list[Metric]:
    """Return the newest metric of each source and its agents from the history, newest first; raise BusError."""
    history = open_history(get_settings())
    if history is None:
        return []
    batches = _run_or_raise(lambda: history.newest(metric_types))
    found = [metric for batch in batches for metric in batch.metrics]
    return sorted(found, key=lambda metric: metric.timestamp, reverse=True)


def _has_servers() -> bool:
    """Return whether a server process may listen: the in-memory layer reaches only a hub of this process."""
    return layer_is_shared() or listening_loop() is not None


def _bus() -> Bus:
    return Bus(group_prefix=get_settings().group_prefix, timeout_seconds=TELL_SECONDS)


def _run_or_raise(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return the result of `work`; raise BusError if it takes too long."""
    try:
        return _run(work, TELL_SECONDS + ANSWER_SECONDS + 1)
    except TimeoutError as error:
        raise BusError("the server processes could not be asked in time") from error


def _is_running_loop(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _run(work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
    """Return the result of `work`, run on the loop of this process's hub or, without one, on a loop of its own."""
    home = listening_loop()
    if home is not None:
        return asyncio.run_coroutine_threadsafe(work(), home).result(seconds)
    # In a thread of its own, since an event loop may run in this thread.
    results: list[T] = []
    errors: list[BusError] = []

    def run() -> None:
        try:
            results.append(asyncio.run(_run_and_disconnect(work)))
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


async def _run_and_disconnect(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return await work()
    finally:
        if layer_is_shared():
            with contextlib.suppress(BusError):
                await _bus().reset()


async def _send_to_processes(message: ToProcesses) -> None:
    bus = _bus()
    bus.check_reach()
    await bus.tell_processes(message)
