"""The recorder: takes what belongs to test runs from the history into the database, in a thread of a server process.

One process does it for all: the one whose name is in the only row of RecorderState. The others look at that row once a
second and take over when it has not been renewed for a while. How far the recording is stands in the same row and is
written together with what was recorded, so nothing is recorded twice, whoever is killed when. Producers, hub and
clients never wait for any of this.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import Error as DjangoDatabaseError
from django.db import close_old_connections, connections

from metrics_stream.conf import StreamSettings, get_settings
from metrics_stream.core.errors import MetricsStreamError, RunError, RunStorageError
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import History, Page, open_history
from metrics_stream.models import RecorderState, TestRun
from metrics_stream.runs import lifecycle as runs
from metrics_stream.runs.lease import Lease
from metrics_stream.runs.writer import Writer

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How often the history is asked for what is new. A chart of a run that is watched while it is recorded is that old.
STEP_SECONDS = 1.0
# The one who records says so this often, and is taken for dead when the others have not seen it for the second.
RENEW_SECONDS = 2.0
# A program that keeps a run alive does so every five seconds.
SILENT_RUN_SECONDS = 60.0
# A run may be a little older than it says, when the clock of its program is ahead of that of the history.
CLOCK_SECONDS = 60.0

RETRY_SECONDS = (1.0, 30.0)
# What a server that stops grants the recorder for what is new since its last step.
STOP_SECONDS = 2.0


class Recorder:
    """Records in a thread of its own from `start` to `stop`; `step` is one round of it."""

    def __init__(self, settings: StreamSettings, *, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`name` is the process; recorders of two containers may have the same, so each adds something of its own."""
        self.metrics_read = 0
        self._settings = settings
        self._types = tuple(settings.catalogue().types)
        self._clock = clock
        self._lease = Lease(f"{name}:{secrets.token_hex(4)}", clock)
        self._writer: Writer | None = None
        self._position: Position | None = None
        self._renew_at = 0.0
        # When each program that keeps a run alive was heard of last, by our clock.
        self._heard: dict[int, tuple[datetime | None, float]] = {}
        self._history: History | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._stop_by = float("inf")
        self._thread = threading.Thread(target=self._run, name="metrics-recorder", daemon=True)

    @property
    def records(self) -> bool:
        """True while this is the one that records."""
        return self._writer is not None

    def start(self) -> None:
        """Begin; what fails is tried again until it works."""
        self._thread.start()

    def stop(self) -> None:
        """Record what is new, end the thread and leave the work to others; take at most STOP_SECONDS."""
        self._stop_by = time.monotonic() + STOP_SECONDS / 2
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    # --- the thread ---

    def _run(self) -> None:
        self.open()
        wait, failed_at = STEP_SECONDS, None
        try:
            while not self._stopping.wait(wait):
                try:
                    self.step()
                except Exception as error:
                    wait = RETRY_SECONDS[0] if failed_at is None else min(wait * 2, RETRY_SECONDS[1])
                    if failed_at is None:
                        failed_at = time.monotonic()
                        _log_failure(error)
                else:
                    wait = STEP_SECONDS
                    if failed_at is not None:
                        logger.warning("test runs are recorded again after %.1f s", time.monotonic() - failed_at)
                        failed_at = None
            self._finish()
        finally:
            self.close()

    def _finish(self) -> None:
        try:
            if self.records:
                self.step()
                self._lease.release()
        except Exception as error:
            _log_failure(error)

    def open(self) -> None:
        """Open the history; before the first step, in the thread that takes it."""
        self._loop = asyncio.new_event_loop()
        self._history = open_history(self._settings)

    def close(self) -> None:
        """Close history and database."""
        if self._history is not None:
            self._await(self._history.close())
        assert self._loop is not None
        self._loop.close()
        connections.close_all()

    def _await(self, call: Coroutine[Any, Any, T]) -> T:
        # Between the calls no loop runs in this thread, so that it may use the database.
        assert self._loop is not None
        return self._loop.run_until_complete(call)

    # --- one round ---

    def step(self) -> None:
        """Record what is new, when it is ours to record; what fails is begun anew with the next step."""
        close_old_connections()
        try:
            self._step()
        except BaseException:
            # What was read and not written is read again, by whoever records then.
            self._writer = None
            self._heard.clear()
            raise

    def _step(self) -> None:
        state = self._lease.take()
        history = self._history
        if state is None or history is None:
            self._writer = None
            return
        # Before looking for runs: what one that is started meanwhile gets comes after this place.
        here = self._await(history.heads(self._types))
        open_runs = self._runs_to_record()
        if self._writer is None:
            logger.info("this process records test runs")
            self._writer = Writer()
            self._position = _from_json(state.position)
            self._renew_at = 0.0
        self._tell_history(history)
        if open_runs:
            self._record(history, self._writer, open_runs, here)
        else:
            self._position = here
        self._renew()

    def _runs_to_record(self) -> list[TestRun]:
        """Return the runs whose recording has not ended, after ending those whose program is gone."""
        unfinished = list(TestRun.objects.filter(started_at__isnull=False, recording_ended_at__isnull=True))
        now = self._clock()
        heard = {run.pk: self._last_heard(run, now) for run in unfinished if run.alive_at and run.status in runs.OPEN}
        self._heard = heard
        return [self._end_silent(run) if self._is_silent(run, now) else run for run in unfinished]

    def _last_heard(self, run: TestRun, now: float) -> tuple[datetime | None, float]:
        before = self._heard.get(run.pk)
        return before if before is not None and before[0] == run.alive_at else (run.alive_at, now)

    def _is_silent(self, run: TestRun, now: float) -> bool:
        return run.pk in self._heard and now - self._heard[run.pk][1] >= SILENT_RUN_SECONDS

    def _end_silent(self, run: TestRun) -> TestRun:
        logger.warning("the program of the test run %s is gone; the run has failed", run.slug)
        note = f"The program that started this run was heard of last at {run.alive_at:%H:%M:%S} UTC."
        try:
            return runs.stop(run, runs.Status.FAILED, note=note, ended_at=run.alive_at)
        except RunStorageError:
            raise
        except RunError:
            return run  # it has ended by itself in this moment

    def _tell_history(self, history: History) -> None:
        """Put right which runs are active, when Redis was emptied or who changed them could not say so."""
        # In this order: what is started between the two is then in the second.
        told = self._await(history.active_runs())
        active = runs.active()
        if told != active:
            self._await(history.set_active_runs(active))

    def _record(self, history: History, writer: Writer, open_runs: Iterable[TestRun], here: Position) -> None:
        ended = [run for run in open_runs if run.status in runs.ENDED]
        # No metric is assigned to those any more, so all of theirs is before this place.
        end = self._await(history.heads(self._types))
        position = self._begin(history, open_runs, here)
        while True:
            page = self._await(history.since(position, until=end))
            if page.lost:
                _note_losses(page, open_runs)
            if page.batches or page.position != position:
                writer.write(page.batches, page.position, holder=self._lease.holder)
            self.metrics_read += sum(len(batch.metrics) for batch in page.batches)
            self._position = position = page.position
            if page.is_last:
                break
            if time.monotonic() > self._stop_by:
                return
        for run in ended:
            writer.finish(run.pk)

    def _begin(self, history: History, open_runs: Iterable[TestRun], here: Position) -> Position:
        """Return the place from which to read, with every metric type of today's settings in it."""
        stored = self._position
        if stored is None:
            earliest = min(run.started_at.timestamp() for run in open_runs if run.started_at) - CLOCK_SECONDS
            return self._await(history.since_time(self._types, earliest))
        offsets = {slug: stored.offsets.get(slug, here.offsets.get(slug, 0)) for slug in self._types}
        return Position(stored.epoch, offsets)

    def _renew(self) -> None:
        now = self._clock()
        if now >= self._renew_at:
            self._lease.renew(self._position)
            self._renew_at = now + RENEW_SECONDS


def _note_losses(page: Page, open_runs: Iterable[TestRun]) -> None:
    """Note what is gone of runs of which nothing is recorded yet; of the others, the writer knows where they stood."""
    now = time.time()
    kept_from: dict[str, float] = {}
    for batch in page.batches:
        kept_from.setdefault(batch.metric_type, batch.published_at)
    for run in open_runs:
        started_at = run.started_at.timestamp() if run.started_at else now
        lost = [
            {"at": _instant(at), "metric_type": metric_type, "count": None, "reason": "history"}
            for metric_type in page.lost
            if started_at < (at := kept_from.get(metric_type, now))
        ]
        if lost:
            TestRun.objects.filter(pk=run.pk, recorded_until__isnull=True).update(lost=lost)


def _instant(seconds_since_1970: float) -> str:
    return datetime.fromtimestamp(seconds_since_1970, UTC).isoformat()


def _log_failure(error: Exception) -> None:
    if isinstance(error, MetricsStreamError | DjangoDatabaseError):
        reason = str(error).strip().partition("\n")[0]
        logger.warning("test runs cannot be recorded at the moment: %s; trying again", reason)
    else:
        logger.error("the recorder failed and is started again", exc_info=error)


def _from_json(value: dict[str, Any] | None) -> Position | None:
    return None if value is None else Position(value["epoch"], value["offsets"])


# --- how far behind ---


async def lag_seconds(history: History) -> float | None:
    """Return how long what is not recorded yet has been waiting; None when there is no run to record."""
    began_at, stored = await sync_to_async(_unrecorded)()
    if began_at is None:
        return None
    if stored is None:
        return max(0.0, time.time() - began_at)
    page = await history.since(stored, max_metrics=1)
    if not page.batches:
        return 0.0
    return max(0.0, time.time() - min(batch.published_at for batch in page.batches))


def _unrecorded() -> tuple[float | None, Position | None]:
    """Return when the oldest run that is not wholly recorded was started, and how far the recording is."""
    unfinished = TestRun.objects.filter(started_at__isnull=False, recording_ended_at__isnull=True)
    started_at = unfinished.order_by("started_at").values_list("started_at", flat=True).first()
    state = RecorderState.objects.filter(pk=RecorderState.ROW).first()
    return started_at.timestamp() if started_at else None, _from_json(state.position if state else None)


# --- the one of this process ---


class _Process:
    recorder: Recorder | None = None


def start_recorder(name: str) -> None:
    """Start the recorder of this server process, if it does not run already."""
    if _Process.recorder is None:
        settings = get_settings()
        if open_history(settings) is not None:
            _Process.recorder = Recorder(settings, name=name)
            _Process.recorder.start()
            # For servers that do not say when they stop.
            atexit.register(stop_recorder)


def stop_recorder() -> None:
    """Stop the recorder of this process, if there is one; it takes at most STOP_SECONDS."""
    recorder, _Process.recorder = _Process.recorder, None
    if recorder is not None:
        recorder.stop()


def the_recorder() -> Recorder | None:
    """Return the recorder of this process, None where none runs."""
    return _Process.recorder
