"""A test run that lasts as long as a block of code, wherever runs are stored: `with stress_test_run(...) as run`.

Imports only core, so that programs start runs over HTTP without Django.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, TypedDict

from metrics_stream.core.errors import RunError, RunOverError, RunUnavailableError
from metrics_stream.core.formats.runs import CANCELLED, COMPLETED, FAILED

logger = logging.getLogger(__name__)

# How long a program tries to end its run, and how much longer it waits for the last attempt.
RUN_STOP_SECONDS = 15.0
SPARE_SECONDS = 2.0
# The wait before a store that cannot be reached is called again.
RUN_RETRY_SECONDS = 0.5


class RunOptions(TypedDict):
    """The values with which a producer starts a run, not checked yet."""

    name: str
    sources: Iterable[str]
    target_tps: float | None
    tags: Iterable[str]
    notes: str


class StartedRun(Protocol):
    """What a block yields: a run in the database, or what a server has answered about one."""

    @property
    def slug(self) -> str:
        """Return the name of the run in addresses and metrics."""

    @property
    def name(self) -> str:
        """Return what is tested."""

    @property
    def status(self) -> str:
        """Return the status of the run, as far as the block knows it."""

    @property
    def sources(self) -> Any:
        """Return the sources whose metrics belong to the run; an empty list is every source."""

    @property
    def started_at(self) -> datetime | None:
        """Return when the run started."""

    @property
    def ended_at(self) -> datetime | None:
        """Return when the run ended; None while it goes on."""


class RunStore(Protocol):
    """Stores the run of a block. One thread calls it, in which no event loop runs."""

    @property
    def alive_seconds(self) -> float:
        """Return the time between two calls of `keep_alive`."""

    def start(self) -> StartedRun:
        """Start the run and return it; raise RunError when it cannot be started."""

    def keep_alive(self) -> None:
        """Report that the program still runs; raise RunOverError when the run has ended, RunUnavailableError."""

    def stop(self, status: str, note: str) -> None:
        """End the run, and update the one that `start` returned; raise RunOverError, RunUnavailableError."""

    def close(self) -> None:
        """Close the connections."""


class RunBlock:
    """Starts a test run, keeps it alive while the block runs, and ends it as the block ended.

    An exception makes it `failed`, with the exception in its notes; KeyboardInterrupt, a cancelled task and a killed
    greenlet make it `cancelled`. The block uses its own thread (a greenlet in a program that gevent has patched), so it
    needs no event loop, database connection or transaction of the caller.
    """

    def __init__(self, run_store: RunStore, *, flush: Callable[[], object]) -> None:
        """`flush` waits until everything that the program has published so far is sent."""
        self._run_store = run_store
        self._flush = flush
        self._pid = 0
        self._started = threading.Event()
        self._ending = threading.Event()
        self._outcome: tuple[str, str] = (COMPLETED, "")
        self._run: StartedRun | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run_until_end, name="metrics-run", daemon=True)

    def __enter__(self) -> StartedRun:
        self._pid = os.getpid()
        self._thread.start()
        try:
            self._started.wait()
        except BaseException:
            self._end(CANCELLED)
            raise
        if self._error is not None:
            raise self._error
        assert self._run is not None
        return self._run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return  # A forked child leaves the block, and the run is its parent's.
        try:
            self._flush()
        finally:
            self._end(*_describe_end(error))
        self._thread.join(RUN_STOP_SECONDS + SPARE_SECONDS)

    async def __aenter__(self) -> StartedRun:
        try:
            return await asyncio.to_thread(self.__enter__)
        except asyncio.CancelledError:
            self._end(CANCELLED)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _end(self, status: str, note: str = "") -> None:
        self._outcome = status, note
        self._ending.set()

    # --- the thread ---

    def _run_until_end(self) -> None:
        try:
            try:
                self._run = self._run_store.start()
            except Exception as error:
                self._error = error
                return
            finally:
                self._started.set()
            self._keep_alive(self._run)
            self._stop(self._run)
        finally:
            self._run_store.close()

    def _keep_alive(self, run: StartedRun) -> None:
        is_reachable = True
        while not self._ending.wait(self._run_store.alive_seconds):
            try:
                self._run_store.keep_alive()
            except RunUnavailableError as error:
                if is_reachable:
                    logger.warning("the test run %s cannot be kept alive: %s", run.slug, error)
                is_reachable = False
            except RunError as error:
                # Another call would not help. The end of the program is reported nevertheless.
                logger.warning("the test run %s is no longer kept alive: %s", run.slug, error)
                self._ending.wait()
                return
            else:
                if not is_reachable:
                    logger.warning("the test run %s is kept alive again", run.slug)
                is_reachable = True

    def _stop(self, run: StartedRun) -> None:
        status, note = self._outcome
        deadline = time.monotonic() + RUN_STOP_SECONDS
        while True:
            try:
                self._run_store.stop(status, note)
            except RunUnavailableError as error:
                if (left := deadline - time.monotonic()) > 0:
                    time.sleep(min(max(RUN_RETRY_SECONDS, error.after_seconds), left))
                    continue
                logger.error("the end of the test run %s could not be stored: %s", run.slug, error)  # noqa: TRY400
            except RunOverError as error:
                logger.info("%s", error)  # It was ended elsewhere, and that end stays.
            except RunError as error:
                logger.error("the end of the test run %s was not stored: %s", run.slug, error)  # noqa: TRY400
            return


def _describe_end(error: BaseException | None) -> tuple[str, str]:
    """Return the status with which a run ends, and the text for its notes."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return COMPLETED, ""
    if isinstance(error, Exception | SystemExit):
        return FAILED, "".join(traceback.format_exception_only(error))[:1_000]
    return CANCELLED, ""
