"""A test run for as long as a block of code runs, wherever runs are kept: `with stress_test_run(...) as run`.

Imports nothing but core, so that programs start runs over HTTP without Django.
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

# How long a program tries to note how its run ended, and what it waits on top for the last try.
STOP_SECONDS = 15.0
SPARE_SECONDS = 2.0
RETRY_SECONDS = 0.5


class RunOptions(TypedDict):
    """What is said of a run when it is started; the values are a producer's, and not checked yet."""

    name: str
    sources: Iterable[str]
    target_tps: float | None
    tags: Iterable[str]
    notes: str


class StartedRun(Protocol):
    """What a block gives: a run in the database, or what a server has told of one."""

    @property
    def slug(self) -> str:
        """The name of the run in its address and in its metrics."""

    @property
    def name(self) -> str:
        """What is tested."""

    @property
    def status(self) -> str:
        """Where the run stands; in and after the block, as far as the block knows."""

    @property
    def sources(self) -> Any:
        """Whose metrics belong to it, a list of names; an empty one: those of every source."""

    @property
    def started_at(self) -> datetime | None:
        """When it began."""

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; None while it goes on."""


class RunStore(Protocol):
    """Where the run of a block is kept. One thread calls it, in which no event loop runs."""

    @property
    def alive_seconds(self) -> float:
        """How often the program has to say that it is still there."""

    def start(self) -> StartedRun:
        """Start the run and return it; raise RunError when that cannot be."""

    def keep_alive(self) -> None:
        """Say that the program is still there; raise RunOverError when the run has ended, RunUnavailableError."""

    def stop(self, status: str, note: str) -> None:
        """End the run, and say so in what `start` gave; raise RunOverError, RunUnavailableError to be called again."""

    def close(self) -> None:
        """Close what is open."""


class RunBlock:
    """Starts a test run, keeps it alive while the block runs, and ends it as the block ended.

    An exception makes it `failed`, with the exception in its notes; KeyboardInterrupt, a cancelled task and a killed
    greenlet make it `cancelled`. All of it happens in a thread of its own, a greenlet in a program that gevent has
    patched: so it asks nothing of the caller's event loop, connection or transaction.
    """

    def __init__(self, run_store: RunStore, *, flush: Callable[[], object]) -> None:
        """`flush` waits until what the program has published so far has left."""
        self._run_store = run_store
        self._flush = flush
        self._pid = 0
        self._started = threading.Event()
        self._ending = threading.Event()
        self._outcome: tuple[str, str] = (COMPLETED, "")
        self._run: StartedRun | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="metrics-run", daemon=True)

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
            return  # a forked child leaves the block of its parent
        try:
            self._flush()
        finally:
            self._end(*_outcome(error))
        self._thread.join(STOP_SECONDS + SPARE_SECONDS)

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

    def _keep(self) -> None:
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
        is_known = True
        while not self._ending.wait(self._run_store.alive_seconds):
            try:
                self._run_store.keep_alive()
            except RunUnavailableError as error:
                if is_known:
                    logger.warning("the test run %s cannot be kept alive: %s", run.slug, error)
                is_known = False
            except RunError as error:
                # Trying again would not mend it. How the program ends is said all the same, and answered.
                logger.warning("the test run %s is not kept alive any more: %s", run.slug, error)
                self._ending.wait()
                return
            else:
                if not is_known:
                    logger.warning("the test run %s is kept alive again", run.slug)
                is_known = True

    def _stop(self, run: StartedRun) -> None:
        status, note = self._outcome
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            try:
                self._run_store.stop(status, note)
            except RunUnavailableError as error:
                if (left := deadline - time.monotonic()) > 0:
                    time.sleep(min(max(RETRY_SECONDS, error.after_seconds), left))
                    continue
                logger.error("the end of the test run %s could not be noted: %s", run.slug, error)  # noqa: TRY400
            except RunOverError as error:
                logger.info("%s", error)  # somebody has ended it meanwhile, and that stands
            except RunError as error:
                logger.error("the end of the test run %s was not noted: %s", run.slug, error)  # noqa: TRY400
            return


def _outcome(error: BaseException | None) -> tuple[str, str]:
    """Return the status in which a run ends, and what its notes say."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return COMPLETED, ""
    if isinstance(error, Exception | SystemExit):
        return FAILED, "".join(traceback.format_exception_only(error))[:1_000]
    return CANCELLED, ""
