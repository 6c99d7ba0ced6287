"""Measure the program that makes the load: a generator at its limits measures itself instead of the target.

`Broadcaster(is_generator=True)` adds the fields to its `system` metrics; core/validity.py judges them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

# Often enough to notice that the program is late by a tenth of a second, rarely enough to cost nothing.
PROBE_SECONDS = 0.05

# A metric that comes sooner than this after the last one gets no figures: they would be those of a moment.
LEAST_SECONDS = 0.5


class GeneratorWatch:
    """Measures the processor time of this process and how late its work is done.

    Within a running event loop the lag is that of the loop, in a program that gevent has patched that of its
    greenlets, else that of a thread, which waits for the interpreter as the others do.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to measure."""
        self._clock = clock
        self._measured_at = clock()
        self._cpu_seconds = time.process_time()
        self._worst_lag = 0.0
        self._is_stopped = threading.Event()
        self._task: asyncio.Task[None] | None = None
        try:
            self._task = asyncio.get_running_loop().create_task(self._probe_loop())
        except RuntimeError:  # no loop runs here
            # Under gevent this is a greenlet.
            threading.Thread(target=self._probe_thread, name="generator-watch", daemon=True).start()

    def stop(self) -> None:
        """Stop measuring; may be called from any thread."""
        self._is_stopped.set()
        task = self._task
        if task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the task with it
                task.get_loop().call_soon_threadsafe(task.cancel)

    def take(self) -> dict[str, Any]:
        """Return processor time and worst lag since the last call; empty if that was a moment ago.

        The processor time is a share of one core: an interpreter does one thing at a time. Programs that use several
        cores count as 1.
        """
        now, cpu_seconds = self._clock(), time.process_time()
        seconds = now - self._measured_at
        if seconds < LEAST_SECONDS:
            return {}
        share = (cpu_seconds - self._cpu_seconds) / seconds
        lag, self._worst_lag = self._worst_lag, 0.0
        self._measured_at, self._cpu_seconds = now, cpu_seconds
        return {
            "generator_cpu_utilization": round(min(1.0, max(0.0, share)), 4),
            "generator_lag_ms": round(lag * 1000, 1),
        }

    def _note_lag(self, due: float) -> None:
        self._worst_lag = max(self._worst_lag, self._clock() - due)

    async def _probe_loop(self) -> None:
        while True:
            due = self._clock() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            self._note_lag(due)

    def _probe_thread(self) -> None:
        due = self._clock() + PROBE_SECONDS
        while not self._is_stopped.wait(PROBE_SECONDS):
            self._note_lag(due)
            due = self._clock() + PROBE_SECONDS
