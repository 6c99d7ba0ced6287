"""Threads and locks of the operating system, also in a program that gevent has patched, as Locust does.

In such a program `threading.Thread` is a greenlet, and an asyncio loop in a greenlet is the running loop of all other
greenlets. So `Broadcaster` runs in a native thread, with the original locks. Whatever gevent has replaced can hang when
two native threads use it at the same time (seen with the locks of log handlers and of imports), so the native thread
avoids it: its event loop is uvloop, which needs neither Python's selectors nor its sockets and name resolution; it logs
through a greenlet; and its modules are imported before it starts.

A separate process for publishing would avoid gevent altogether. It would also need the settings, the queue, the
counters and the errors on both sides of a pipe, and about a second and 60 MB at each start.
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

# How much longer than necessary `wait_until` may sleep: unnoticeable after a test, and little work while it waits.
_POLL_SECONDS = 0.005


def _gevent_monkey() -> Any:
    """Return gevent's module `monkey` if it has patched this program, else None."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey if monkey and any(map(monkey.is_module_patched, ("threading", "socket", "select"))) else None


def _original(name: str) -> Any:
    monkey = _gevent_monkey()
    return monkey.get_original("_thread", name) if monkey else getattr(_thread, name)


def new_lock() -> Any:
    """Return a re-entrant lock. Hold it only briefly: a greenlet that waits for it stops all greenlets."""
    return _original("RLock")()


class Signal:
    """Wakes the one thread that waits for it; that thread must find out itself what is new."""

    def __init__(self) -> None:
        self._lock = _original("allocate_lock")()
        self._lock.acquire()

    def set(self) -> None:
        """End the current wait or, if there is none, the next one."""
        with suppress(RuntimeError):  # the signal is set already
            self._lock.release()

    def wait(self, timeout: float = -1) -> None:
        """Wait until the signal is set, at most `timeout` seconds, and unset it."""
        self._lock.acquire(timeout=timeout)


def wait_until(condition: Callable[[], object], timeout: float) -> bool:
    """Return True as soon as `condition` holds, False after `timeout` seconds.

    It polls, since nothing else wakes both greenlets and threads: where gevent has patched the program, sleeping lets
    other greenlets run.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def prepare() -> None:
    """Import what a native thread must not import; raise NativeThreadError if it could not run an event loop here."""
    if _gevent_monkey():
        importlib.import_module("gevent").get_hub()  # making the first hub imports its parts
        importlib.import_module("encodings.idna")  # it encodes host names
        try:
            importlib.import_module("uvloop")
        except ImportError as error:
            raise NativeThreadError(
                "in a program that gevent has patched, publishing needs uvloop; install it with `pip install uvloop`"
            ) from error


def result_of(call: Callable[[], Coroutine[Any, Any, T]], name: str, timeout: float) -> T:
    """Return the result of a coroutine, run in a new native thread; raise its exception, or TimeoutError.

    For callers that may be in a greenlet, or in a thread with a running event loop. Other greenlets run meanwhile.
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
    """A daemon thread that runs `target` with a new event loop; it starts at once."""

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
        """Raise NativeThreadError if gevent has patched the program since the thread was started."""
        if self._hub is None and _gevent_monkey():
            raise NativeThreadError(
                "gevent has patched this program while metrics were published; call monkey.patch_all() before"
            )

    def log(self, logger: logging.Logger, level: int, message: str, *args: object, **options: Any) -> None:
        """Log from this thread; under gevent through a greenlet, since the locks of the handlers are gevent's."""
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
                # Setting socket options in redis-py made a gevent hub for this thread.
                importlib.import_module("gevent").get_hub().destroy(destroy_loop=True)
            self.ended = True

    def _log_of_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.log(
            logging.getLogger(__name__), logging.ERROR, "%s", context["message"], exc_info=context.get("exception")
        )
