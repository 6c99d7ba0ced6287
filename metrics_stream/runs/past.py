"""Record the metrics of a run that was over when it was started, straight into the database.

They never were in the history: no client gets them live, and they belong to no other run. Imports of results use this
too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from django.db import transaction

from metrics_stream.core.errors import RunError, RunOverError
from metrics_stream.core.formatting import format_timestamp, quote
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.run_values import is_within
from metrics_stream.core.series.folding import readings
from metrics_stream.core.series.sketch_columns import sketches_in
from metrics_stream.models import MetricChunk, RecordedRequest, TestRun
from metrics_stream.runs import lifecycle
from metrics_stream.runs.clock import database_seconds
from metrics_stream.runs.open_run import OpenRun
from metrics_stream.runs.writer import save_chunks
from metrics_stream.telemetry import of_process


def fault_of(metric: Metric, run: TestRun) -> tuple[str, str] | None:
    """Return which part of a metric does not fit a past run, and why; None if the metric belongs to the run."""
    if run.started_at is None or run.ended_at is None:
        return None
    if not is_within(metric.timestamp, run.started_at, run.ended_at):
        span = " to ".join(format_timestamp(at.timestamp()) for at in (run.started_at, run.ended_at))
        return "timestamp", f"timestamp is {format_timestamp(metric.timestamp)}; allowed: within the run, {span}"
    if run.sources and metric.source not in run.sources:
        return "source", f"source {quote(metric.source)} is not one of the run; allowed: {', '.join(run.sources)}"
    return None


def record(run: TestRun, metrics: Iterable[Metric], *, key: str | None = None, token: str = "") -> bool:
    """Record metrics of a past run, all or none of them; return False when those of this `key` are recorded already.

    Charts show each at its own time. Replays and exports have the metrics of one call in the order of time, after those
    of earlier calls. `token` names the owner of new series, whose number is limited. Raises RunError for a metric that
    does not fit the run, and for a run that was not started as a past one.
    """
    ordered = sorted(metrics, key=lambda metric: metric.timestamp)
    with lifecycle.translate_errors(), transaction.atomic():
        found = TestRun.objects.select_for_update().filter(pk=run.pk).first()
        if found is None:
            raise RunOverError(f"the test run {run.slug!r} no longer exists")
        if not found.is_past:
            raise RunError(
                f"the test run {found.slug!r} records what is published live; allowed: a run that was started with "
                "started_at and ended_at"
            )
        if fault := next(filter(None, (fault_of(metric, found) for metric in ordered)), None):
            raise RunError(f"a metric does not fit the test run {found.slug!r}: {fault[1]}")
        if key is not None and not RecordedRequest.objects.get_or_create(run=found, key=key)[1]:
            return False
        _write(found, ordered, token)
    of_process.run_metrics_recorded += len(ordered)
    return True


def _write(run: TestRun, ordered: Sequence[Metric], token: str) -> None:
    now = database_seconds()
    # Readers rely on times that rise with the numbers of metrics.
    newest = MetricChunk.objects.filter(run=run).order_by("-first_number").values_list("last_at", flat=True).first()
    open_run = OpenRun(run)
    for metric in ordered:
        at = metric.timestamp if newest is None else max(metric.timestamp, newest)
        open_run.take(metric, at, readings(metric.body), sketches_in(metric.body), now, token=token)
    # Everything is closed at once; a later call opens again what it adds to.
    changes = open_run.changes(now, ends=True)
    changes.columns["recording_ended_at"] = datetime.fromtimestamp(now, UTC)
    TestRun.objects.filter(pk=run.pk).update(**changes.columns)
    save_chunks(changes)
