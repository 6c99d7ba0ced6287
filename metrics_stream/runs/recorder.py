"""The recorder: copies the metrics of test runs from the history to the database, in a thread of a server process.

One process records for all: the one named in the only row of RecorderState. The others read that row once per second
and take over when it is no longer renewed. The position of the recording is in the same row and is written together
with the metrics, so that nothing is recorded twice when a process is killed. Producers, hub and clients never wait
for it.
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
from metrics_stream.core.errors import BusError, MetricsStreamError, RunError, RunStorageError
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import History, Page, open_history
from metrics_stream.models import RecorderState, TestRun
from metrics_stream.models.known_types import read_definitions
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runs import lifecycle
from metrics_stream.runs.clock import database_seconds
from metrics_stream.runs.lease import Lease
from metrics_stream.runs.liveness import Liveness
from metrics_stream.runs.writer import Writer

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How often the history is read. The chart of a run that is being recorded is up to this old.
STEP_SECONDS = 1.0
# After a long step it rests for so many times as long, but not so long that it would lose its lease.
STEP_REST = 3.0
MAX_STEP_SECONDS = 2.0
# How often the recorder renews its lease; less than half of lease.TAKEOVER_SECONDS.
RENEW_SECONDS = 2.0
# How often the clocks of the history and the database are compared.
MEASURE_SECONDS = 30.0
# The first metrics of a run may be this much older than its start, when the clock of its program is ahead of the
# history's clock.
CLOCK_SECONDS = 60.0

# The first wait after a step that failed, and the longest.
STEP_RETRY_SECONDS = (1.0, 30.0)
# How long a server that stops waits for the recorder to record what is new since its last step.
RECORDER_STOP_SECONDS = 2.0


class Recorder:
    """Records in its own thread from `start` to `stop`; `step` is one round."""

    def __init__(self, settings: StreamSettings, *, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`name` is that of the process; two containers may use the same name, so the lease adds random letters."""
        self._settings = settings
        self._types: tuple[str, ...] = ()
        self._clock = clock
        self._lease = Lease(f"{name}:{secrets.token_hex(4)}", clock)
        self._writer: Writer | None = None
        self._is_announced = False
        self._position: Position | None = None
        self._renew_at = 0.0
        self._ahead = 0.0
        self._measure_at = 0.0
        self._liveness = Liveness(clock)
        self._history: History | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._stop_by = float("inf")
        self._thread = threading.Thread(target=self._run, name="metrics-recorder", daemon=True)

    @property
    def records(self) -> bool:
        """Return whether this recorder holds the lease."""
        return self._writer is not None

    def start(self) -> None:
        """Start the thread; a step that fails is repeated until it succeeds."""
        self._thread.start()

    def stop(self) -> None:
        """Record what is new, release the lease and end the thread, within RECORDER_STOP_SECONDS."""
        self._stop_by = time.monotonic() + RECORDER_STOP_SECONDS / 2
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(RECORDER_STOP_SECONDS)

    # --- the thread ---

    def _run(self) -> None:
        self.open()
        wait, has_failed = STEP_SECONDS, False
        try:
            while not self._stopping.wait(wait):
                began_at = time.monotonic()
                try:
                    self.step()
                except Exception as error:
                    wait = min(wait * 2, STEP_RETRY_SECONDS[1]) if has_failed else STEP_RETRY_SECONDS[0]
                    if isinstance(error, BusError):
                        # A Redis that comes back empty must soon know the active runs again.
                        wait = STEP_RETRY_SECONDS[0]
                    has_failed = True
                    _note_failure(error)
                else:
                    # Each write packs again what still grows: much of it is written less often.
                    wait = min(MAX_STEP_SECONDS, max(STEP_SECONDS, STEP_REST * (time.monotonic() - began_at)))
                    has_failed = False
                    of_process.end(FaultKind.RECORDING)
            self._finish()
        finally:
            self.close()

    def _finish(self) -> None:
        try:
            if self.records:
                self.step()
                self._lease.release()
        except Exception as error:
            _note_failure(error)

    def open(self) -> None:
        """Open the history; call this before the first step, in the same thread."""
        self._loop = asyncio.new_event_loop()
        self._history = open_history(self._settings)

    def close(self) -> None:
        """Close the history and the database connections."""
        if self._history is not None:
            self._await(self._history.close())
        assert self._loop is not None
        self._loop.close()
        connections.close_all()

    def _await(self, call: Coroutine[Any, Any, T]) -> T:
        # No event loop runs between the calls, because Django forbids database access in a thread with a running loop.
        assert self._loop is not None
        return self._loop.run_until_complete(call)

    # --- one round ---

    def step(self) -> None:
        """Record what is new if this recorder holds the lease; the next step repeats one that failed."""
        close_old_connections()
        try:
            self._step()
        except BaseException:
            # What was read and not written is read again, by the process that records then.
            self._writer = None
            self._liveness.forget()
            raise

    def _step(self) -> None:
        state = self._lease.take()
        history = self._history
        if state is None or history is None:
            self._writer = None
            self._is_announced = False
            return
        self._types = self._find_types(_from_json(state.position))
        # Before the query for runs: the metrics of a run that starts in between come after these positions.
        heads = self._await(history.heads(self._types))
        unfinished = self._find_unfinished()
        if self._writer is None:
            if not self._is_announced:  # Not again after each failure.
                logger.info("this process records test runs")
                self._is_announced = True
            self._writer = Writer()
            self._position = _from_json(state.position)
            self._renew_at = 0.0
        self._correct_active_runs(history)
        if unfinished:
            self._record(history, self._writer, unfinished, heads)
        else:
            self._position = heads
        self._count_lost(history, self._writer)
        self._renew()

    def _find_types(self, stored: Position | None) -> tuple[str, ...]:
        """Return the metric types that are defined now, and those that were recorded before and exist no more."""
        read_definitions()
        position = self._position or stored
        return tuple(dict.fromkeys((*self._settings.catalogue().slugs, *(position.offsets if position else ()))))

    def _find_unfinished(self) -> list[TestRun]:
        """Return the runs whose recording has not ended, after failing those whose program is silent."""
        unfinished = list(TestRun.objects.filter(started_at__isnull=False, recording_ended_at__isnull=True))
        silent = {run.pk for run in self._liveness.watch(unfinished)}
        return [self._fail_silent(run) if run.pk in silent else run for run in unfinished]

    def _fail_silent(self, run: TestRun) -> TestRun:
        logger.warning("the program of the test run %s is silent; the run has failed", run.slug)
        note = f"The last report of the program that started this run came at {run.alive_at:%H:%M:%S} UTC."
        try:
            return lifecycle.stop(run, lifecycle.Status.FAILED, note=note, ended_at=run.alive_at)
        except RunStorageError:
            raise
        except RunError:
            return run  # It has just ended by itself.

    def _correct_active_runs(self, history: History) -> None:
        """Set the active runs of the history, which are wrong after Redis was emptied or could not be reached."""
        # The history first: a run that starts in between is then in the second result.
        known = self._await(history.active_runs())
        active = lifecycle.active()
        if known != active:
            self._await(history.set_active_runs(active))

    def _count_lost(self, history: History, writer: Writer) -> None:
        """Count in the runs what producers report as lost with an earlier epoch of the history."""
        reached = self._position.epoch if self._position is not None else ""
        # A report on an epoch that is still read here has to wait.
        reports = [report for report in self._await(history.lost_reports()) if report.epoch < reached]
        if reports:
            ahead = self._measure_ahead(history)
            counted = writer.count_lost(reports, holder=self._lease.holder, history_ahead=ahead)
            # Only now: a report that comes again, because this fails, is not counted twice.
            self._await(history.drop_lost_reports(counted))

    def _measure_ahead(self, history: History) -> float:
        """Return by how many seconds the clock of the history is ahead of the database's."""
        return self._await(history.clock()) - database_seconds()

    def _recall_ahead(self, history: History) -> float:
        """Return the same, measured some time ago."""
        now = self._clock()
        if now >= self._measure_at:
            self._ahead, self._measure_at = self._measure_ahead(history), now + MEASURE_SECONDS
        return self._ahead

    def _record(self, history: History, writer: Writer, unfinished: Iterable[TestRun], heads: Position) -> None:
        ended = [run for run in unfinished if run.status in lifecycle.ENDED]
        # After the query for runs: no metric is assigned to those that have ended, so all of theirs are before `end`.
        end = self._await(history.heads(self._types))
        position = self._find_start(history, unfinished, heads)
        if position.epoch == end.epoch and any(end.offsets[item] < at for item, at in position.offsets.items()):
            # A replica that lacks the last metrics has taken over.
            self._await(history.confirm(position))
            end = self._await(history.heads(self._types))
        # After a failover, a replica may still have metrics of the epoch that ended with it.
        is_past = position.epoch != end.epoch
        while True:
            page = self._await(history.since(position, until=None if is_past else end, is_past=is_past))
            self._liveness.see(page.batches)
            if page.lost:
                _store_losses(page, unfinished, position, self._measure_ahead(history))
            if page.batches or page.position != position:
                is_run_unknown = any(batch.runs is None for batch in page.batches)
                ahead = self._measure_ahead(history) if is_run_unknown else self._recall_ahead(history)
                writer.write(page.batches, page.position, holder=self._lease.holder, history_ahead=ahead)
            self._position = position = page.position
            if page.is_last:
                if not is_past:
                    break
                is_past = False
            if time.monotonic() > self._stop_by:
                return
        self._liveness.note()
        for run in ended:
            writer.finish(run.pk)

    def _find_start(self, history: History, unfinished: Iterable[TestRun], heads: Position) -> Position:
        """Return the position from which to read, with every metric type.

        Types that came after the stored position are read from the start of the earliest run.
        """
        stored = self._position
        new = [slug for slug in self._types if stored is None or slug not in stored.offsets]
        if stored is not None and (not new or stored.epoch != heads.epoch):
            return Position(stored.epoch, {**dict.fromkeys(new, 0), **stored.offsets})
        earliest = min(run.started_at.timestamp() for run in unfinished if run.started_at) - CLOCK_SECONDS
        earliest += self._measure_ahead(history)
        found = self._await(history.since_time(new, earliest))
        return found if stored is None else Position(stored.epoch, {**found.offsets, **stored.offsets})

    def _renew(self) -> None:
        now = self._clock()
        if now >= self._renew_at:
            self._lease.renew(self._position)
            self._renew_at = now + RENEW_SECONDS


def _store_losses(page: Page, unfinished: Iterable[TestRun], position: Position, history_ahead: float) -> None:
    """Store what is lost of runs of which nothing is recorded yet; the writer does so for the others."""
    is_over = position.epoch != page.position.epoch
    more = {"reason": "epoch", "epoch": position.epoch} if is_over else {"reason": "history"}
    now = database_seconds()
    kept_from: dict[str, float] = {}
    for batch in page.batches:
        kept_from.setdefault(batch.metric_type, batch.published_at - history_ahead)
    for run in unfinished:
        started_at = run.started_at.timestamp() if run.started_at else now
        lost = [
            {"at": _to_iso(at), "metric_type": metric_type, "count": None, **more}
            for metric_type in page.lost
            if started_at < (at := kept_from.get(metric_type, now))
        ]
        if lost:
            TestRun.objects.filter(pk=run.pk, recorded_until__isnull=True).update(lost=lost)


def _to_iso(seconds_since_1970: float) -> str:
    return datetime.fromtimestamp(seconds_since_1970, UTC).isoformat()


def _note_failure(error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0]
    if not isinstance(error, MetricsStreamError | DjangoDatabaseError):
        reason = f"{type(error).__name__}, {reason}"
        if not of_process.has(FaultKind.RECORDING):
            logger.error("the recorder failed and starts again", exc_info=error)
    of_process.begin(FaultKind.RECORDING, f"test runs cannot be recorded: {reason}")
    of_process.count(FaultKind.RECORDING, "attempts failed")


def _from_json(value: dict[str, Any] | None) -> Position | None:
    return None if value is None else Position(value["epoch"], value["offsets"])


# --- the lag of the recording ---


async def lag_seconds(history: History) -> float | None:
    """Return how long the oldest metric that is not recorded yet has waited; None when there is no run to record."""
    started_at, stored, now = await sync_to_async(_read_progress)()
    if started_at is None:
        return None
    if stored is None:
        return max(0.0, now - started_at)
    page = await history.since(stored, max_metrics=1)
    if not page.batches:
        return 0.0
    return max(0.0, await history.clock() - min(batch.published_at for batch in page.batches))


def _read_progress() -> tuple[float | None, Position | None, float]:
    """Return the start of the oldest run that is not completely recorded, the position of the recording, and now."""
    unfinished = TestRun.objects.filter(started_at__isnull=False, recording_ended_at__isnull=True)
    started_at = unfinished.order_by("started_at").values_list("started_at", flat=True).first()
    state = RecorderState.objects.filter(pk=RecorderState.ROW).first()
    position = _from_json(state.position if state else None)
    return started_at.timestamp() if started_at else None, position, database_seconds()


# --- the recorder of this process ---


class _Process:
    recorder: Recorder | None = None


def start_recorder(name: str) -> None:
    """Start the recorder of this server process unless it already runs."""
    if _Process.recorder is None:
        settings = get_settings()
        if open_history(settings) is not None:
            _Process.recorder = Recorder(settings, name=name)
            _Process.recorder.start()
            # For servers that do not report when they stop.
            atexit.register(stop_recorder)


def stop_recorder() -> None:
    """Stop the recorder of this process, if there is one, within RECORDER_STOP_SECONDS."""
    recorder, _Process.recorder = _Process.recorder, None
    if recorder is not None:
        recorder.stop()
