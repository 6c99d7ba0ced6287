"""Write the metrics of test runs to the database, in one transaction with the position up to which they go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Q

from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.errors import LeaseLostError
from metrics_stream.core.metrics.annotations import annotations_in
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.core.series.folding import read_body
from metrics_stream.history.accepted import LostItem, LostReport
from metrics_stream.models import MetricChunk, RecorderState, RowTotals, SeriesGroup, TestRun, TierChunk
from metrics_stream.runs.clock import database_seconds
from metrics_stream.runs.open_run import Changes, OpenRun
from metrics_stream.runs.progress import Progress
from metrics_stream.telemetry import of_process

# Between clocks that are this close, a correction would only add the error of the comparison.
MAX_HISTORY_AHEAD_SECONDS = 2.0


class Writer:
    """Writes the metrics of test runs; only the holder named in RecorderState writes.

    Its state in memory is in the database too: when a write fails or another process has changed the state, it is read
    again. So nothing is recorded twice or left out, whenever a process is killed.
    """

    def __init__(self, *, now: Callable[[], float] = database_seconds) -> None:
        """`now` is the clock of the database, in seconds since 1970."""
        self._now = now
        self._runs: dict[int, OpenRun] = {}
        self._position: dict[str, Any] | None = None
        """The position of the state in memory."""
        self._holder: str | None = None
        self._marks = ClockMarks()

    def write(
        self, batches: Sequence[HistoryBatch], position: Position, *, holder: str, history_ahead: float = 0.0
    ) -> None:
        """Record the batches, and store that everything up to `position` is recorded.

        `history_ahead` is by how many seconds the clock of the history is ahead of the database's, which is that of
        runs: batches whose runs the history did not know belong to those that were running when it took them. Metrics
        that a run already has are skipped. What is missing between its last position and the batches is added to its
        `lost`. Raises LeaseLostError, and writes nothing, when `holder` no longer holds the lease.
        """
        self._check_lease(holder)
        now = self._now()
        try:
            targets = self._load_targets(batches)
            before = sum(run.metrics_recorded for run in self._runs.values())
            for batch in batches:
                self._take(batch, targets, now, history_ahead)
            for target in targets.values():
                progress, is_paused = target.run.progress, target.is_paused
                for metric_type, offset in position.offsets.items():
                    progress.skip_to(metric_type, position.epoch, offset, offset, at=now, is_paused=is_paused)
            changes = {pk: run.changes(now) for pk, run in self._runs.items()}
            self._save(changes, {"epoch": position.epoch, "offsets": dict(position.offsets)}, now)
            of_process.run_metrics_recorded += max(0, sum(r.metrics_recorded for r in self._runs.values()) - before)
            _count_losses(run.progress for run in self._runs.values())
        except BaseException:
            self._forget()
            raise

    def finish(self, run_id: int) -> None:
        """Close everything open of a run, and store that its recording has ended."""
        now = self._now()
        if self._holder is not None:
            self._check_lease(self._holder)
        try:
            run = self._runs.get(run_id)
            if run is None:
                stored = TestRun.objects.filter(pk=run_id).first()
                if stored is None:
                    return
                run = OpenRun(stored)
            changes = run.changes(now, ends=True)
            changes.columns["recording_ended_at"] = datetime.fromtimestamp(now, UTC)
            self._save({run_id: changes}, None, now)
        except BaseException:
            self._forget()
            raise
        self._runs.pop(run_id, None)

    def count_lost(self, reports: Sequence[LostReport], *, holder: str, history_ahead: float = 0.0) -> list[LostReport]:
        """Count what was lost with earlier epochs in the runs that the reports concern; return the reports counted.

        The others have to wait until the recording has left their epoch. `history_ahead` as in `write`.
        """
        self._check_lease(holder)
        now = self._now()
        try:
            waiting: set[int] = set()
            changes: dict[int, Changes] = {}
            concerned: list[Progress] = []
            for run, of_run in self._find_concerned(reports, history_ahead):
                open_run = self._runs.get(run.pk)
                progress = open_run.progress if open_run is not None else Progress(run)
                waiting |= {index for index, items in of_run.items() if not progress.count_lost(reports[index], items)}
                changes[run.pk] = Changes.of_columns(progress.columns())
                concerned.append(progress)
            self._save(changes, None, now)
            _count_losses(concerned)
        except BaseException:
            self._forget()
            raise
        return [report for index, report in enumerate(reports) if index not in waiting]

    @staticmethod
    def _find_concerned(
        reports: Sequence[LostReport], history_ahead: float
    ) -> Iterator[tuple[TestRun, dict[int, list[LostItem]]]]:
        """Yield each run of which reports have items, and these items by the index of the report."""
        everything = [(index, item) for index, report in enumerate(reports) for item in report.items]
        named = {slug for _, item in everything for slug in item.runs or ()}
        wanted = Q(slug__in=named)
        if unknown := [item.published_at for _, item in everything if item.runs is None]:
            since = datetime.fromtimestamp(min(unknown) - history_ahead, UTC)
            wanted |= Q(started_at__isnull=False) & (Q(ended_at__isnull=True) | Q(ended_at__gt=since))
        for run in TestRun.objects.filter(wanted):
            of_run: dict[int, list[LostItem]] = {}
            for index, item in everything:
                if item.runs is None:
                    is_own = was_running(run, item.source, item.published_at - history_ahead)
                else:
                    is_own = run.slug in item.runs
                if is_own:
                    of_run.setdefault(index, []).append(item)
            if of_run:
                yield run, of_run

    def _check_lease(self, holder: str) -> None:
        """Check that `holder` holds the lease; forget the state in memory when the database has another."""
        state = RecorderState.objects.filter(pk=RecorderState.ROW).first()
        if state is None or state.holder != holder:
            self._forget()
            raise _make_lease_error(holder, state)
        if holder != self._holder or state.position != self._position:
            self._forget()
        self._holder, self._position = holder, state.position

    def _forget(self) -> None:
        self._runs.clear()
        self._holder = self._position = None

    def _load_targets(self, batches: Iterable[HistoryBatch]) -> dict[str, _Target]:
        """Return the runs that are being recorded or that the batches name, by slug."""
        named = {slug for batch in batches if batch.runs for slugs in batch.runs.values() for slug in slugs}
        wanted = Q(started_at__isnull=False, recording_ended_at__isnull=True) | Q(slug__in=named)
        found = {run.pk: run for run in TestRun.objects.filter(wanted).only(*_TARGET_COLUMNS)}
        self._runs = {pk: run for pk, run in self._runs.items() if pk in found}
        for run in TestRun.objects.filter(pk__in=found.keys() - self._runs.keys()):
            self._runs[run.pk] = OpenRun(run)
        return {
            run.slug: _Target(self._runs[pk], run)
            for pk, run in found.items()
            if pk in self._runs  # Otherwise it was just deleted.
        }

    def _take(self, batch: HistoryBatch, targets: dict[str, _Target], now: float, history_ahead: float) -> None:
        by_source = {
            source: [(target.run, target.run.progress.offset(batch.metric_type, batch.epoch)) for target in of_source]
            for source, of_source in _find_targets(batch, targets, history_ahead).items()
            if of_source
        }
        for target in targets.values():
            target.run.progress.skip_to(
                batch.metric_type,
                batch.epoch,
                batch.first,
                batch.end,
                at=batch.published_at,
                is_paused=target.is_paused,
            )
        if not by_source:
            return
        published_at = batch.published_at
        if abs(history_ahead) > MAX_HISTORY_AHEAD_SECONDS:
            published_at -= history_ahead
        timings = self._marks.learn(batch, published_at)
        for number, metric in enumerate(batch.metrics, batch.first):
            runs = [run for run, offset in by_source.get(metric.source, ()) if number >= offset]
            if runs:
                found, sketches = read_body(metric.body)
                annotations = annotations_in(metric.body)
                for run in runs:
                    run.take(
                        metric,
                        published_at,
                        found,
                        sketches,
                        now,
                        timing=timings[metric.source],
                        token=batch.owner,
                        annotations=annotations,
                    )

    def _save(self, changes: dict[int, Changes], position: dict[str, Any] | None, now: float) -> None:
        with transaction.atomic():
            state = RecorderState.objects.select_for_update().filter(pk=RecorderState.ROW).first()
            if self._holder is not None:
                if state is None or (state.holder, state.position) != (self._holder, self._position):
                    raise _make_lease_error(self._holder, state)
                if position is not None:
                    state.position = position
                state.renewed_at = datetime.fromtimestamp(now, UTC)
                state.save(update_fields=["position", "renewed_at"])
            for pk, of_run in changes.items():
                if TestRun.objects.filter(pk=pk).update(**of_run.columns):
                    save_chunks(of_run)
                else:  # It was just deleted.
                    self._runs.pop(pk, None)
        if position is not None:
            self._position = position


def _count_losses(written: Iterable[Progress]) -> None:
    for progress in written:
        for reason, count in progress.uncounted.items():
            of_process.run_metrics_lost[reason] += count
        progress.uncounted.clear()


_TARGET_COLUMNS = ("slug", "status", "sources", "started_at", "ended_at")


class _Target(NamedTuple):
    run: OpenRun
    stored: TestRun
    """With _TARGET_COLUMNS."""

    @property
    def is_paused(self) -> bool:
        return self.stored.status == TestRun.Status.PAUSED


def _find_targets(batch: HistoryBatch, targets: dict[str, _Target], history_ahead: float) -> dict[str, list[_Target]]:
    """Return the targets of each source of a batch."""
    if batch.runs is not None:
        return {source: [targets[slug] for slug in ids if slug in targets] for source, ids in batch.runs.items()}
    at = batch.published_at - history_ahead
    return {
        source: [target for target in targets.values() if was_running(target.stored, source, at)]
        for source in {metric.source for metric in batch.metrics}
    }


def was_running(run: TestRun, source: str, at: float) -> bool:
    """Return whether metrics of a source belonged to a run at an instant of the database's clock.

    A paused run has none: if it was not paused yet then, its pause was announced to the history right afterwards.
    """
    return (
        run.started_at is not None
        and run.started_at.timestamp() <= at
        and (run.ended_at is None or at < run.ended_at.timestamp())
        and run.status != TestRun.Status.PAUSED
        and (not run.sources or source in run.sources)
    )


def save_chunks(changes: Changes) -> None:
    """Save the rows of a run's recording."""
    MetricChunk.objects.bulk_create(
        changes.chunks,
        update_conflicts=True,
        unique_fields=["run", "first_number"],
        update_fields=["count", "last_at", "keys", "counts", "payload"],
    )
    RowTotals.objects.bulk_create(
        changes.row_totals,
        update_conflicts=True,
        unique_fields=["run", "metric_type", "source"],
        update_fields=["payload"],
    )
    SeriesGroup.objects.bulk_create([group for group in changes.groups if group.pk is None])
    known = [group for group in changes.groups if group.pk is not None]
    SeriesGroup.objects.bulk_update(known, ["fields", "units", "windows"])
    TierChunk.objects.bulk_create(
        [
            TierChunk(
                run_id=row.group.run_id,
                group=row.group,
                bucket_seconds=row.bucket_seconds,
                starts_at=row.starts_at,
                is_open=row.is_open,
                payload=row.payload,
            )
            for row in changes.rows
        ],
        update_conflicts=True,
        unique_fields=["group", "bucket_seconds", "starts_at"],
        update_fields=["is_open", "payload"],
    )


def _make_lease_error(holder: str, state: RecorderState | None) -> LeaseLostError:
    other = f"{state.holder!r} does" if state is not None and state.holder else "no process does"
    return LeaseLostError(f"{holder!r} no longer records; {other}")
