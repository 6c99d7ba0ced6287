"""Settings of the Python interpreter that keep the event loop from waiting for threads and for garbage collections."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from types import TracebackType
from typing import Self

# A page that computes in its thread keeps the interpreter for so long while the event loop waits for it; with Python's
# 5 ms each write to a socket would take as long.
SWITCH_SECONDS = 0.0005

# A collection of everything stops the process for a tenth of a second where much is kept. Python would do one whenever
# a quarter more is kept, several times a second at worst; young objects are still collected as they come.
COLLECT_SECONDS = 60.0
# Connections that come and go leave garbage of some 300 objects each. After so many collections of young objects, each
# of which leaves some thousands, there may be that of some hundred connections.
COLLECT_AFTER = 15
LOOK_SECONDS = 0.5
_NEVER = 2**30


class ServingInterpreter:
    """The interpreter of a server process; `stop` restores what was set before."""

    def __init__(self) -> None:
        self._switch_seconds = sys.getswitchinterval()
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Set the interpreter for serving. What exists now is never garbage: code and the tables of Django."""
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*self._thresholds[:2], _NEVER)

    def stop(self) -> None:
        """Restore the settings."""
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()
        sys.setswitchinterval(self._switch_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def collect_garbage() -> None:
    """Collect garbage every COLLECT_SECONDS, and sooner when there may be much, until cancelled."""
    collected_at = time.monotonic()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if gc.get_count()[2] >= COLLECT_AFTER or time.monotonic() - collected_at >= COLLECT_SECONDS:
            gc.collect()
            collected_at = time.monotonic()
