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
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, TypedDict

from metrics_stream.core.errors import RunError, RunOverError, RunUnavailableError
from metrics_stream.core.formats.runs import CANCELLED, COMPLETED, FAILED
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.run_values import MAX_PHASES, read_phase_name

logger = logging.getLogger(__name__)

# How long a program tries to end its run, and how much longer it waits for the last attempt.
RUN_STOP_SECONDS = 15.0
SPARE_SECONDS = 2.0
# The wait before a store that cannot be reached is called again.
RUN_RETRY_SECONDS = 0.5

# How often a program that waits for its metrics to be recorded looks whether the block still runs.
_WATCH_SECONDS = 1.0

_ENDED = "the block of the test run has ended"


class RunValues(TypedDict, total=False):
    """What a producer can say of a run, not checked yet.

    `test` is the slug of the test, by default made of the name; `parameters` says what was tested (commit, version …).
    With `started_at` and `ended_at` the test is over, and `phases` are its phases: objects with `name`, `start`, `end`.
    """

    target_tps: float | None
    tags: Iterable[str]
    notes: str
    test: str | None
    parameters: Mapping[str, Any] | None
    started_at: datetime | float | str | None
    ended_at: datetime | float | str | None
    phases: Iterable[Any]


class RunOptions(RunValues):
    """The values with which a producer starts a run, all of them given."""

    name: str
    sources: Iterable[str]


def run_options(name: str, sources: Iterable[str], values: RunValues) -> RunOptions:
    """Return the options of a run, with the defaults of what is not given; raise TypeError for an unknown one."""
    if unknown := values.keys() - RunValues.__annotations__.keys():
        allowed = ", ".join(["name", "sources", *RunValues.__annotations__])
        raise TypeError(f"unknown argument {min(unknown)!r} of a test run; allowed: {allowed}")
    options: RunOptions = {
        "name": name,
        "sources": sources,
        "target_tps": None,
        "tags": (),
        "notes": "",
        "test": None,
        "parameters": None,
        "started_at": None,
        "ended_at": None,
        "phases": (),
        **values,
    }
    return options


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

    def mark_phase(self, name: str | None, seconds_ago: float) -> None:
        """Begin a phase, or with None end the one before; raise RunError, RunOverError, RunUnavailableError."""

    def record(self, metrics: Sequence[Metric]) -> None:
        """Record metrics of a run that was over when it was started; raise RunError, RunUnavailableError."""

    def close(self) -> None:
        """Close the connections."""


class BlockRun:
    """The run of a block: what its store knows of it (`slug`, `name`, `status` …), and what a program can add."""

    def __init__(self, block: RunBlock, run: StartedRun) -> None:
        self._block = block
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def phase(self, name: str) -> None:
        """Begin a phase of the run, such as `steady`; it ends the phase before, and the run ends the last one.

        It returns at once: the thread of the block stores the phase, with the time of this call. Raises RunError for a
        name that is not allowed.
        """
        self._block.mark(read_phase_name(name))

    def end_phase(self) -> None:
        """End the phase that goes on, without beginning another one."""
        self._block.mark(None)

    def record(self, metrics: Iterable[Mapping[str, Any]]) -> int:
        """Record metrics of a test that was over when the run was started; return how many.

        They are as for `broadcast_many`, and each has a `timestamp` within the run. It returns when they are stored;
        asynchronous code calls it in a thread. Raises MetricError and RunError, which say what is not allowed.
        """
        return self._block.record(metrics)


class RunBlock:
    """Starts a test run, keeps it alive while the block runs, and ends it as the block ended.

    An exception makes it `failed`, with the exception in its notes; KeyboardInterrupt, a cancelled task and a killed
    greenlet make it `cancelled`. The block uses its own thread (a greenlet in a program that gevent has patched), so it
    needs no event loop, database connection or transaction of the caller.
    """

    def __init__(
        self,
        run_store: RunStore,
        *,
        flush: Callable[[], object],
        make_metric: Callable[[Any], Metric] | None = None,
        is_past: bool = False,
    ) -> None:
        """`flush` waits until everything that the program has published so far is sent.

        `make_metric` encodes an item that the block records. `is_past` says that the test was over before: its run has
        an end and is not kept alive.
        """
        self._run_store = run_store
        self._flush = flush
        self._make_metric = make_metric
        self._is_past = is_past
        self._pid = 0
        self._started = threading.Event()
        self._ending = threading.Event()
        self._wakeup = threading.Event()
        # The phases that are not stored yet: their names, and when they began by the monotonic clock.
        self._marks: deque[tuple[str | None, float]] = deque(maxlen=MAX_PHASES)
        self._recordings: deque[tuple[list[Metric], Future[None]]] = deque()
        self._outcome: tuple[str, str] = (COMPLETED, "")
        self._run: StartedRun | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run_until_end, name="metrics-run", daemon=True)

    def __enter__(self) -> BlockRun:
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
        return BlockRun(self, self._run)

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

    async def __aenter__(self) -> BlockRun:
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
        self._wakeup.set()

    # --- what the program adds ---

    def mark(self, name: str | None) -> None:
        """Begin a phase now, or with None end the one before; the thread stores it."""
        self._check_open()
        if self._is_past:
            raise RunError("the test was over when the run was started; give its phases as the argument `phases`")
        self._marks.append((name, time.monotonic()))
        self._wakeup.set()

    def record(self, metrics: Iterable[Mapping[str, Any]]) -> int:
        """Record metrics, and wait until they are stored; return how many."""
        self._check_open()
        assert self._make_metric is not None
        made = [self._make_metric(item) for item in metrics]
        stored: Future[None] = Future()
        self._recordings.append((made, stored))
        self._wakeup.set()
        while not wait([stored], timeout=_WATCH_SECONDS).done:
            if not self._thread.is_alive():
                raise RunError(_ENDED)
        stored.result()
        return len(made)

    def _check_open(self) -> None:
        if self._ending.is_set() or not self._thread.is_alive():
            raise RunError(_ENDED)

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
            self._serve(self._run)
            self._stop(self._run)
        finally:
            for _, stored in self._recordings:
                stored.set_exception(RunError(_ENDED))
            self._run_store.close()

    def _serve(self, run: StartedRun) -> None:
        """Keep the run alive and store what the program adds, until the block ends."""
        is_reachable, is_kept = True, not self._is_past
        while not self._ending.is_set():
            is_due = not self._wakeup.wait(self._run_store.alive_seconds if is_kept else None)
            self._wakeup.clear()
            self._store_recordings()
            try:
                if is_kept and not self._store_marks(run) and is_due:
                    self._run_store.keep_alive()
            except RunUnavailableError as error:
                if is_reachable:
                    logger.warning("the test run %s cannot be kept alive: %s", run.slug, error)
                is_reachable = False
            except RunError as error:
                # Another call would not help. The end of the program is reported nevertheless.
                logger.warning("the test run %s is no longer kept alive: %s", run.slug, error)
                is_kept = False
            else:
                if not is_reachable:
                    logger.warning("the test run %s is kept alive again", run.slug)
                is_reachable = True

    def _store_marks(self, run: StartedRun) -> bool:
        """Store the phases that wait, which also keeps the run alive; return whether there were any."""
        count = 0
        while self._marks:
            name, began_at = self._marks[0]
            try:
                self._run_store.mark_phase(name, time.monotonic() - began_at)
            except (RunUnavailableError, RunOverError):
                raise
            except RunError as error:
                logger.warning("a phase of the test run %s was not stored: %s", run.slug, error)
            self._marks.popleft()
            count += 1
        return count > 0

    def _store_recordings(self) -> None:
        while self._recordings:
            metrics, stored = self._recordings[0]
            try:
                self._run_store.record(metrics)
            except Exception as error:
                stored.set_exception(error)
            else:
                stored.set_result(None)
            self._recordings.popleft()

    def _stop(self, run: StartedRun) -> None:
        status, note = self._outcome
        self._store_recordings()
        if self._is_past and status == COMPLETED:
            return  # It is completed since it was started.
        deadline = time.monotonic() + RUN_STOP_SECONDS
        while True:
            try:
                self._store_marks(run)
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
