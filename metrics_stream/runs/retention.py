"""What of a recording is kept for how long: whole metrics, and each tier of its series, from the end of the run on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet, Sum
from django.db.models.functions import Length

from metrics_stream.conf import StreamSettings
from metrics_stream.models import MetricChunk, SeriesGroup, TestRun, TierChunk

# Deleted at once: others write in between.
_BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted of a run, or would be: `what` as people call it, and how many rows and bytes that are."""

    run: TestRun
    what: str
    rows: int
    payload_bytes: int


def prune(settings: StreamSettings, *, now: datetime, dry_run: bool = False) -> Iterator[Pruned]:
    """Delete what is older than settings allow, and say so for each run; a dry run only says so.

    Nothing of a run is touched before it has ended and its recording too.
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
        assert run.ended_at is not None
        for what, days, rows in kept_days:
            # 0 keeps for ever, and so does what no calendar has.
            if days and (now - run.ended_at) / timedelta(days=1) > days:
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
