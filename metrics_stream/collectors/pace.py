"""The times of a producer's steps, and the request to stop.

Steps are on a grid of the monotonic clock, so that the duration of a step never adds up to drift.
"""

from __future__ import annotations

import math
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# A step due within this time is due now: such a short wait may end before the clock has moved.
_CLOCK_GRAIN_SECONDS = 1e-6


class Stop:
    """A request to stop that a signal handler may make while the same thread waits for it.

    A threading.Event does not work: its lock is not reentrant, and a handler that interrupts `wait` at the wrong moment
    would wait for itself. SimpleQueue.put is documented as reentrant.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.requested = False

    def request(self) -> None:
        """Request the stop, from a signal handler or any thread."""
        self.requested = True
        self._requests.put(None)

    def wait(self, seconds: float) -> bool:
        """Return True as soon as the stop is requested, False after `seconds`."""
        if not self.requested:
            try:
                self._requests.get(timeout=max(0.0, seconds))
            except queue.Empty:
                return self.requested
        return True


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Yield a Stop that SIGTERM and Ctrl-C request, and restore the former handlers at the end.

    A second signal changes nothing: a SIGTERM from the parent often follows a Ctrl-C to the whole group, and the clean
    end that is already running has its own deadlines. Outside the main thread, no signal is handled.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(_number: int, _frame: FrameType | None) -> None:
        stop.request()

    former = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            # None stands for a handler that was not installed from Python and cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def ticks(
    interval_seconds: float,
    *,
    stop: Stop,
    duration_seconds: float = 0.0,
    first: int = 0,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], bool] | None = None,
) -> Iterator[float]:
    """Yield the scheduled time of each step, in seconds since the start, until stopped or past the duration.

    Scheduled times are `interval_seconds` times `first`, `first` + 1 and so on. Steps that were missed (in a suspended
    process) are omitted instead of following in a burst. A duration of 0 has no end.
    """
    wait = wait or stop.wait
    started_at = clock()
    number = first
    # The tolerance keeps a tick on the last instant despite rounding errors.
    last = math.inf if duration_seconds == 0 else math.floor(duration_seconds / interval_seconds + 1e-9)
    while number <= last and not stop.requested:
        elapsed = clock() - started_at
        ahead = number * interval_seconds - elapsed
        if ahead > _CLOCK_GRAIN_SECONDS:
            if wait(ahead):
                return
            continue
        number = max(number, min(math.floor(elapsed / interval_seconds), int(min(last, 1e18))))
        yield number * interval_seconds
        number += 1
    if last is not math.inf and not stop.requested:
        wait(max(0.0, duration_seconds - (clock() - started_at)))
