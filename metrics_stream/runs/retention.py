"""Retention: delete metrics and tiers of recordings that are older than the settings keep them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet, Sum
from django.db.models.functions import Length

from metrics_stream.conf import StreamSettings
from metrics_stream.models import MetricChunk, SeriesGroup, TestRun, TierChunk

# So many rows are deleted with one statement, so that other processes can write in between.
_BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted of a run, or would be: its name for people, and its rows and bytes."""

    run: TestRun
    what: str
    rows: int
    payload_bytes: int


def prune(settings: StreamSettings, *, now: datetime, dry_run: bool = False) -> Iterator[Pruned]:
    """Delete what is older than the settings allow, and yield what was deleted; a dry run only yields.

    Runs are left alone until they and their recordings have ended.
    """
    kept_days = (
        ("metrics", settings.record_raw_days, MetricChunk.objects.all()),
        ("buckets of 1 s", settings.record_1s_days, TierChunk.objects.filter(bucket_seconds=1)),
        ("buckets of 10 s", settings.record_10s_days, TierChunk.objects.filter(bucket_seconds=10)),
        ("buckets of 60 s", settings.record_60s_days, TierChunk.objects.filter(bucket_seconds=60)),
    )
    unfinished = (TestRun.Status.NOT_STARTED, TestRun.Status.RUNNING, TestRun.Status.PAUSED)
    for run in (
        TestRun.objects.filter(recording_ended_at__isnull=False, ended_at__isnull=False)
        .exclude(status__in=unfinished)
        .order_by("ended_at")
    ):
        # What was recorded after the test was over is kept as long as what was recorded during it.
        kept_from = run.recording_ended_at if run.is_past else run.ended_at
        assert kept_from is not None
        for what, days, rows in kept_days:
            # 0 keeps for ever. A division, since a timedelta of very many days would overflow.
            if days and (now - kept_from) / timedelta(days=1) > days:
                pruned = _prune(run, what, rows.filter(run=run), dry_run=dry_run)
                if pruned.rows:
                    yield pruned
        if not dry_run and not TierChunk.objects.filter(run=run).exists():
            SeriesGroup.objects.filter(run=run).delete()


def _prune(run: TestRun, what: str, rows: QuerySet[MetricChunk] | QuerySet[TierChunk], *, dry_run: bool) -> Pruned:
    count = rows.count()
    size = rows.aggregate(size=Sum(Length("payload")))["size"] or 0
    if not dry_run:
        while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:_BATCH_ROWS]):
            rows.filter(pk__in=keys).delete()
    return Pruned(run, what, count, size)
