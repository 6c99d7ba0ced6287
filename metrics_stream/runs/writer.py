"""Recording: what the history has for test runs goes into the database, in one transaction with how far it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Q

from metrics_stream.core.errors import LeaseLostError
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.core.series.folding import readings
from metrics_stream.core.series.sketch_columns import sketches_in
from metrics_stream.models import MetricChunk, RecorderState, SeriesGroup, TestRun, TierChunk
from metrics_stream.runs.open_run import Changes, OpenRun


class Writer:
    """Writes what belongs to test runs; one at a time is the holder named in RecorderState.

    What it keeps in memory is in the database too: when a write fails, or the state was changed by another, it reads
    that again. So nothing is recorded twice and nothing is left out, whoever is killed when.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        """`now` is the clock, in seconds since 1970."""
        self._now = now
        self._runs: dict[int, OpenRun] = {}
        self._position: dict[str, Any] | None = None
        """How far what is in memory went."""
        self._holder: str | None = None

    def write(self, batches: Sequence[HistoryBatch], position: Position, *, holder: str) -> None:
        """Record the stretches, and that everything up to `position` is recorded.

        What a run has already is passed over. What is missing between its last position and these is noted in its
        `lost`. Raises LeaseLost, and writes nothing, when `holder` is no longer the one who records.
        """
        self._check(holder)
        now = self._now()
        try:
            targets = self._load(batches)
            for batch in batches:
                self._take(batch, targets, now)
            for run, is_paused in targets.values():
                for metric_type, offset in position.offsets.items():
                    run.pass_by(metric_type, position.epoch, offset, offset, at=now, is_paused=is_paused)
            changes = {pk: run.changes(now) for pk, run in self._runs.items()}
            self._save(changes, {"epoch": position.epoch, "offsets": dict(position.offsets)}, now)
        except BaseException:
            self._forget()
            raise

    def finish(self, run_id: int) -> None:
        """Close what is open of a run, and note that its recording has ended."""
        now = self._now()
        if self._holder is not None:
            self._check(self._holder)
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

    def _check(self, holder: str) -> None:
        """Make sure that `holder` records, and that what is in memory is what the database has."""
        state = RecorderState.objects.filter(pk=RecorderState.ROW).first()
        if state is None or state.holder != holder:
            self._forget()
            raise _lost(holder, state)
        if holder != self._holder or state.position != self._position:
            self._forget()
        self._holder, self._position = holder, state.position

    def _forget(self) -> None:
        self._runs.clear()
        self._holder = self._position = None

    def _load(self, batches: Iterable[HistoryBatch]) -> dict[str, _Target]:
        """Return the runs that are recorded or named in the stretches, by slug."""
        named = {slug for batch in batches for slugs in batch.runs.values() for slug in slugs}
        wanted = Q(started_at__isnull=False, recording_ended_at__isnull=True) | Q(slug__in=named)
        found = {run.pk: run for run in TestRun.objects.filter(wanted).only("slug", "status")}
        self._runs = {pk: run for pk, run in self._runs.items() if pk in found}
        for run in TestRun.objects.filter(pk__in=found.keys() - self._runs.keys()):
            self._runs[run.pk] = OpenRun(run)
        return {
            run.slug: _Target(self._runs[pk], run.status == TestRun.Status.PAUSED)
            for pk, run in found.items()
            if pk in self._runs  # or it was deleted in this moment
        }

    def _take(self, batch: HistoryBatch, targets: dict[str, _Target], now: float) -> None:
        by_source = {
            source: [(target.run, target.run.offset(batch.metric_type, batch.epoch)) for target in of_source]
            for source, slugs in batch.runs.items()
            if (of_source := [targets[slug] for slug in slugs if slug in targets])
        }
        for target in targets.values():
            target.run.pass_by(
                batch.metric_type,
                batch.epoch,
                batch.first,
                batch.end,
                at=batch.published_at,
                is_paused=target.is_paused,
            )
        if not by_source:
            return
        for number, metric in enumerate(batch.metrics, batch.first):
            runs = [run for run, offset in by_source.get(metric.source, ()) if number >= offset]
            if runs:
                found, sketches = readings(metric.body), sketches_in(metric.body)
                for run in runs:
                    run.take(metric, batch.published_at, found, sketches, now)

    def _save(self, changes: dict[int, Changes], position: dict[str, Any] | None, now: float) -> None:
        with transaction.atomic():
            state = RecorderState.objects.select_for_update().filter(pk=RecorderState.ROW).first()
            if self._holder is not None:
                if state is None or (state.holder, state.position) != (self._holder, self._position):
                    raise _lost(self._holder, state)
                if position is not None:
                    state.position = position
                state.renewed_at = datetime.fromtimestamp(now, UTC)
                state.save(update_fields=["position", "renewed_at"])
            for pk, of_run in changes.items():
                if TestRun.objects.filter(pk=pk).update(**of_run.columns):
                    _save_chunks(of_run)
                else:  # it was deleted in this moment
                    self._runs.pop(pk, None)
        if position is not None:
            self._position = position


class _Target(NamedTuple):
    run: OpenRun
    is_paused: bool


def _save_chunks(changes: Changes) -> None:
    MetricChunk.objects.bulk_create(
        changes.chunks,
        update_conflicts=True,
        unique_fields=["run", "first_number"],
        update_fields=["count", "last_at", "keys", "payload"],
    )
    SeriesGroup.objects.bulk_create([group for group in changes.groups if group.pk is None])
    SeriesGroup.objects.bulk_update([group for group in changes.groups if group.pk is not None], ["fields"])
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


def _lost(holder: str, state: RecorderState | None) -> LeaseLostError:
    other = repr(state.holder) if state is not None and state.holder else "nobody"
    return LeaseLostError(f"{holder!r} does not record any more; {other} does")
