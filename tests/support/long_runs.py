"""Runs of days and weeks, written in seconds with the recorder's own code and synthetic times.

`record_long_run` gives metrics to the writer of the recorder, as the history would, so that pages can replay the run.
`write_minutes` makes a run as it is after retention has deleted its metrics and its buckets of 1 s and 10 s: one number
a second for each series, of which the tiers from 60 s on are kept. The recorder's code makes the wide tiers from them.
"""

from __future__ import annotations

import math
import random
from array import array
from datetime import UTC, datetime, timedelta

from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.series.columns import Column, SeriesKey
from metrics_stream.core.series.packing import pack
from metrics_stream.models import RecorderState, SeriesGroup, TestRun, TierChunk
from metrics_stream.runs.coarse_tiers import CoarseTiers, Reach
from metrics_stream.runs.tiers import row_start, span_seconds
from tests.support.recording import Recording

DAY = 86_400
ROW = span_seconds(60)

_SYSTEM = Catalogue().types["system"]


def start_long_run(slug: str, *, ends_at: float, seconds: int) -> TestRun:
    """Return a run that began so long before an instant, in seconds since 1970, and has just ended."""
    ended_at = datetime.fromtimestamp(ends_at, UTC)
    started_at = ended_at - timedelta(seconds=seconds)
    run = TestRun.objects.create(slug=slug, name=slug, status="completed", started_at=started_at, ended_at=ended_at)
    # It was created when it started.
    TestRun.objects.filter(pk=run.pk).update(created_at=started_at)
    return TestRun.objects.get(pk=run.pk)


def record_long_run(
    slug: str, *, ends_at: float, seconds: int, step: int = 30, sources: tuple[str, ...] = ("web-1", "web-2")
) -> TestRun:
    """Return a recorded run with a metric of each source every `step` seconds: a load that follows the day."""
    run = start_long_run(slug, ends_at=ends_at, seconds=seconds)
    recording, chance = Recording(slug), random.Random(1)
    begin = int(run.started_at.timestamp())
    for hour in range(begin, begin + seconds, 3_600):
        metrics = [
            encode_metric(_SYSTEM, _load(at, place, chance), timestamp=float(at), source=source, max_bytes=262_144)
            for at in range(hour, min(hour + 3_600, begin + seconds), step)
            for place, source in enumerate(sources)
        ]
        recording.record(*metrics, each=len(sources))
    run = recording.end(run)
    # The position is not one of the server's history.
    RecorderState.objects.update(holder="", position=None)
    return run


def _load(at: int, place: int, chance: random.Random) -> dict[str, float]:
    daily = 1 + math.sin(2 * math.pi * at / DAY)
    return {
        "throughput_tps": round(400 + 150 * daily + 60 * place + chance.gauss(0, 15), 1),
        "avg_response_time_ms": round(40 + 20 * daily + chance.expovariate(0.3), 2),
        "p95_response_time_ms": round(90 + 40 * daily + chance.expovariate(0.1), 2),
        "error_rate": round(max(0.0, chance.gauss(0.004, 0.002)), 5),
        "cpu_utilization": round(min(1.0, 0.3 + 0.2 * daily + chance.gauss(0, 0.03)), 3),
    }


def write_minutes(slug: str, *, ends_at: float, seconds: int, sources: int, fields: int) -> TestRun:
    """Return a run of `sources` times `fields` series, one number a second each, in tiers of 60 s and wider."""
    end = int(ends_at // ROW) * ROW
    begin = end - seconds // ROW * ROW
    run = start_long_run(slug, ends_at=end, seconds=end - begin)
    names = [f"field_{number}" for number in range(fields)]
    groups = {
        SeriesKey("system", f"web-{number}", None): SeriesGroup(
            run=run, metric_type="system", source=f"web-{number}", fields=names
        )
        for number in range(sources)
    }
    SeriesGroup.objects.bulk_create(groups.values())
    chance = random.Random(1)
    # Packing is what takes time: some rows, and the same numbers at other times.
    rows = [_make_minutes(chance, names) for _ in range(20)]
    for starts_at in range(row_start(60, begin), end, ROW):
        minutes = array("q", range(starts_at // 60, (starts_at + ROW) // 60))
        chunks = []
        for number, group in enumerate(groups.values()):
            row = rows[(number + starts_at // ROW) % len(rows)]
            for column in row.values():
                column.buckets = minutes
            chunks.append(_make_chunk(run, group, 60, starts_at, pack(row)))
        TierChunk.objects.bulk_create(chunks)
    tiers = CoarseTiers(run, groups)
    for wide in tiers.rows({}, Reach(begin, end - 1, math.inf, ends=True)):
        _make_chunk(run, wide.group, wide.bucket_seconds, wide.starts_at, wide.payload).save()
    columns = {
        "first_at": run.started_at,
        "last_at": datetime.fromtimestamp(end - 1, UTC),
        "recording_ended_at": run.ended_at,
        "metrics_recorded": (end - begin) * sources,
        **tiers.columns(),
    }
    TestRun.objects.filter(pk=run.pk).update(**columns)
    return TestRun.objects.get(pk=run.pk)


def _make_chunk(run: TestRun, group: SeriesGroup, bucket_seconds: int, starts_at: int, payload: bytes) -> TierChunk:
    return TierChunk(run=run, group=group, bucket_seconds=bucket_seconds, starts_at=starts_at, payload=payload)


def _make_minutes(chance: random.Random, names: list[str]) -> dict[str, Column]:
    """Return columns of a row of minutes, each with sixty values around some number."""
    count = ROW // 60
    columns = {}
    for name in names:
        column = columns[name] = Column()
        levels = [chance.gauss(500, 50) for _ in range(count)]
        column.counts = array("Q", [60] * count)
        column.lasts = array("d", [round(level + chance.gauss(0, 5), 3) for level in levels])
        column.lows = array("d", [round(level - 15, 3) for level in levels])
        column.highs = array("d", [round(level + 15, 3) for level in levels])
        column.totals = array("d", [round(level * 60, 3) for level in levels])
    return columns
