"""Threads and locks of the operating system, also in a program that gevent has patched, as Locust does.

There `threading.Thread` is a greenlet, and a loop of asyncio in a greenlet is the running loop of all the others. So
`Broadcaster` runs in a native thread, with the original locks. What gevent replaced hangs when two native threads want
the same of it at the same time (seen with the locks of log handlers and of imports), so that thread stays away from it:
its event loop is uvloop, which needs neither Python's selectors nor its sockets and name resolution; it logs through a
greenlet; and what it would import is imported before it starts.

A process of its own for publishing would keep clear of gevent altogether. It would also need the settings, the queue,
its counters and its errors on both sides of a pipe, and a second or so and 60 MB at each start.
"""

from __future__ import annotations

import _thread
import asyncio
import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from metrics_stream.core.errors import NativeThreadError

T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# How long a `wait_until` may sleep past the moment: unnoticeable after a test, and little work while it waits.
_POLL_SECONDS = 0.005


def _gevent_monkey() -> Any:
    """Return the module that has patched this program, or None."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey if monkey and any(map(monkey.is_module_patched, ("threading", "socket", "select"))) else None


def _original(name: str) -> Any:
    monkey = _gevent_monkey()
    return monkey.get_original("_thread", name) if monkey else getattr(_thread, name)


def new_lock() -> Any:
    """Return a re-entrant lock. Hold it for moments only: a greenlet that waits for it stops all of them."""
    return _original("RLock")()


class Signal:
    """Wakes the one thread that waits for it, which then has to look for itself what is new."""

    def __init__(self) -> None:
        self._lock = _original("allocate_lock")()
        self._lock.acquire()

    def set(self) -> None:
        """End the wait, or the next one."""
        with suppress(RuntimeError):  # it is set already
            self._lock.release()

    def wait(self, timeout: float = -1) -> None:
        """Wait until it is set, at most `timeout` seconds, and unset it."""
        self._lock.acquire(timeout=timeout)


def wait_until(condition: Callable[[], object], timeout: float) -> bool:
    """Return True as soon as `condition` holds, False after `timeout` seconds.

    It asks again and again, since nothing else wakes greenlets and threads alike: to sleep is cooperative where gevent
    has patched it.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def prepare() -> None:
    """Import what a native thread may not; raise NativeThreadError when it could run no event loop in this program."""
    if _gevent_monkey():
        importlib.import_module("gevent").get_hub()  # a hub imports its parts when the first one is made
        importlib.import_module("encodings.idna")  # host names are encoded with it
        try:
            importlib.import_module("uvloop")
        except ImportError as error:
            raise NativeThreadError(
                "in a program that gevent has patched, publishing needs uvloop; install it with `pip install uvloop`"
            ) from error


def result_of(call: Callable[[], Coroutine[Any, Any, T]], name: str, timeout: float) -> T:
    """Return what a coroutine returns, run in a native thread of its own, or raise what it raises; TimeoutError.

    For code that may run in a greenlet, or in a thread in which an event loop runs. Other greenlets go on meanwhile.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run(_: NativeThread, loop: asyncio.AbstractEventLoop) -> None:
        try:
            results.append(loop.run_until_complete(call()))
        except Exception as error:
            errors.append(error)

    thread = NativeThread(run, name)
    if not wait_until(lambda: thread.ended, timeout):
        raise TimeoutError(f"it took more than {timeout:g} s")
    if errors:
        raise errors[0]
    return results[0]


class NativeThread:
    """A daemon thread that runs `target` with an event loop; it starts at once."""

    def __init__(self, target: Callable[[NativeThread, asyncio.AbstractEventLoop], None], name: str) -> None:
        self.ended = False
        self._target = target
        self._hub: Any = None
        if not _gevent_monkey():
            threading.Thread(target=self._run, args=(asyncio.new_event_loop,), name=name, daemon=True).start()
            return
        prepare()
        self._hub = importlib.import_module("gevent").get_hub()
        new_event_loop: LoopFactory = importlib.import_module("uvloop").new_event_loop
        _original("start_new_thread")(self._run, (new_event_loop,))

    def check(self) -> None:
        """Raise NativeThreadError when gevent has patched the program since the thread was started."""
        if self._hub is None and _gevent_monkey():
            raise NativeThreadError(
                "gevent has patched this program while metrics were published; call monkey.patch_all() before"
            )

    def log(self, logger: logging.Logger, level: int, message: str, *args: object, **options: Any) -> None:
        """Log from this thread. Under gevent a greenlet does it, since the locks of handlers are gevent's there."""
        if self._hub is None:
            logger.log(level, message, *args, **options)
        elif self._hub.loop is not None:
            spawn = importlib.import_module("gevent").spawn
            self._hub.loop.run_callback_threadsafe(lambda: spawn(logger.log, level, message, *args, **options))

    def _run(self, new_event_loop: LoopFactory) -> None:
        try:
            loop = new_event_loop()
            loop.set_exception_handler(self._log_of_loop)
            try:
                self._target(self, loop)
            finally:
                loop.close()
        finally:
            if self._hub is not None:
                # libuv's sockets made a hub for this thread when redis-py set their options.
                importlib.import_module("gevent").get_hub().destroy(destroy_loop=True)
            self.ended = True

    def _log_of_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.log(
            logging.getLogger(__name__), logging.ERROR, "%s", context["message"], exc_info=context.get("exception")
        )
