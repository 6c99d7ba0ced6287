"""Tells every server process something from synchronous code: that access has changed, that a client has to go."""

from __future__ import annotations

import asyncio
import logging
import threading

from metrics_stream.bus import AccessChanged, Bus, CloseClient, NotShared, listening_loop
from metrics_stream.conf import get_settings
from metrics_stream.deadline import BusError

logger = logging.getLogger(__name__)

# Nobody waits longer for it than this; who was not told finds out by himself, within RECHECK_SECONDS.
TELL_SECONDS = 3.0


def tell_servers(message: AccessChanged | CloseClient) -> bool:
    """Tell all server processes; return whether they could be told. Never raises, and takes at most TELL_SECONDS."""
    home = listening_loop()
    try:
        if home is not None:
            telling = asyncio.run_coroutine_threadsafe(_tell(message), home)
            if not _runs_here(home):
                telling.result(TELL_SECONDS + 1)
        else:
            _tell_in_a_thread(message)
    except NotShared:
        return False  # no server runs, so nobody has to know
    except (BusError, TimeoutError) as error:
        logger.warning("the server processes could not be told that access has changed: %s", error)
        return False
    return True


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _tell_in_a_thread(message: AccessChanged | CloseClient) -> None:
    # Its own, since an event loop may run in this one.
    errors: list[BusError] = []

    def run() -> None:
        try:
            asyncio.run(_tell(message, leaves=True))
        except BusError as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="metrics-control", daemon=True)
    thread.start()
    thread.join(TELL_SECONDS + 1)
    if thread.is_alive():
        raise TimeoutError(f"it took more than {TELL_SECONDS:g} s")
    if errors:
        raise errors[0]


async def _tell(message: AccessChanged | CloseClient, *, leaves: bool = False) -> None:
    bus = Bus(group_prefix=get_settings().group_prefix, timeout_seconds=TELL_SECONDS)
    bus.check_reach()
    await bus.tell_processes(message)
    if leaves:
        await bus.reset()
