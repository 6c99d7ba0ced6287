"""Recordings for tests: metrics as a recorder reads them from the history, and what is recorded of them."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from metrics_stream.broadcast import broadcast_many
from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import HistoryBatch, Position
from metrics_stream.core.series.folding import readings
from metrics_stream.history import open_history
from metrics_stream.models import RecorderState, TestRun
from metrics_stream.runs import reader
from metrics_stream.runs import series as run_series
from metrics_stream.runs.writer import Writer

START = 1_800_000_000.0
"""The start of a minute and of an hour."""

HOLDER = "web-1:1:aaaa"

_TYPES = Catalogue().types


def metric(at: float, data=None, *, metric_type: str = "system", source: str = "web-1", **stated) -> Metric:
    """Return a metric of so many seconds after START; `stated` are units and windows."""
    known = {"throughput_tps": at} if data is None else data
    return encode_metric(_TYPES[metric_type], known, timestamp=START + at, source=source, max_bytes=262_144, **stated)


def start_run(slug: str = "soak", **columns) -> TestRun:
    """Return a run that has been started."""
    started_at = datetime.fromtimestamp(START, UTC)
    return TestRun.objects.create(
        **{"slug": slug, "name": slug, "status": "running", "started_at": started_at} | columns
    )


class Recording:
    """A history with offsets, and the writer of a recorder with the clock of the test."""

    def __init__(self, *runs: str, epoch: str = "e1") -> None:
        self.runs = runs
        self.epoch = epoch
        self.offsets: dict[str, int] = {}
        self.order = 0
        self.now = START
        RecorderState.objects.update_or_create(pk=RecorderState.ROW, defaults={"holder": HOLDER, "position": None})
        self.writer = self.new_writer()

    def new_writer(self) -> Writer:
        """Return the writer of a new recorder; the previous one is forgotten, as after a kill."""
        self.writer = Writer(now=lambda: self.now)
        return self.writer

    def publish(self, *metrics: Metric, at: float | None = None) -> HistoryBatch:
        """Return metrics of one type as the history has them once they are published together."""
        metric_type = metrics[0].metric_type
        self.order += 1
        first = self.offsets.get(metric_type, 0)
        self.offsets[metric_type] = first + len(metrics)
        published_at = metrics[-1].timestamp if at is None else START + at
        runs = {item.source: self.runs for item in metrics} if self.runs else {}
        return HistoryBatch(metric_type, self.epoch, first, self.order, published_at, list(metrics), runs)

    @property
    def position(self) -> Position:
        return Position(self.epoch, dict(self.offsets))

    def write(self, batches: Sequence[HistoryBatch], position: Position | None = None) -> None:
        self.writer.write(batches, position or self.position, holder=HOLDER)

    def record(self, *metrics: Metric, each: int = 1) -> None:
        """Publish metrics, so many of one type at once, and record them in one write."""
        batches = []
        pending: list[Metric] = []
        for item in metrics:
            if pending and (len(pending) == each or pending[0].metric_type != item.metric_type):
                batches.append(self.publish(*pending))
                pending = []
            pending.append(item)
        if pending:
            batches.append(self.publish(*pending))
        if metrics:
            self.now = max(item.timestamp for item in metrics)
        self.write(batches)

    def end(self, run: TestRun) -> TestRun:
        """Finish the recording of a run, and return the run as it is now."""
        self.writer.finish(run.pk)
        return TestRun.objects.get(pk=run.pk)


# --- what is recorded ---


def record_metrics(*metrics, **columns) -> TestRun:
    """Record metrics in a run, and return the run when it has ended."""
    run, recording = start_run(**columns), Recording("soak")
    for item in metrics:
        recording.record(item)
    return recording.end(run)


def noise(seconds, *, rate=1.0, sources=("web-1", "web-2"), seed=1):
    """Return metrics with random values, `rate` per second, in turn from each source."""
    chance = random.Random(seed)
    return [
        metric(
            number / rate,
            {"tps": chance.random() * 1000, "total": number, "cost": {"sum": round(chance.gauss(0, 5), 2)}},
            source=sources[number % len(sources)],
        )
        for number in range(int(seconds * rate))
    ]


def recorded(run):
    """Return the metrics that are recorded of a run, in order."""
    return list(reader.rows(run))


def by_series(metrics):
    """Return the values of each series with their times, in the order of publishing."""
    found = defaultdict(list)
    for item in metrics:
        for row, fields, values in readings(item.body):
            for field, value in zip(fields, values, strict=True):
                found[item.metric_type, item.source, row, field].append((item.timestamp, value))
    return found


def check_series(run, metrics, **options):
    """Compare the series of a run with what its metrics say; return them."""
    series = run_series.series(run, **options)
    expected = by_series(metrics)
    assert {(one.metric_type, one.source, one.row, one.field) for one in series} == expected.keys()
    for one in series:
        buckets = defaultdict(list)
        for at, value in sorted(
            expected[one.metric_type, one.source, one.row, one.field], key=lambda pair: int(pair[0])
        ):
            buckets[int((at - one.starts_at) // one.bucket_seconds)].append(value)
        assert one.buckets == sorted(buckets)
        assert one.count == [len(buckets[bucket]) for bucket in one.buckets]
        assert one.min == [min(buckets[bucket]) for bucket in one.buckets]
        assert one.max == [max(buckets[bucket]) for bucket in one.buckets]
        assert one.last == [buckets[bucket][-1] for bucket in one.buckets]
        assert one.mean == pytest.approx([sum(buckets[bucket]) / len(buckets[bucket]) for bucket in one.buckets])
    return series


# --- through the history of this process ---


def publish_numbers(*numbers, source="counter", metric_type="system"):
    """Publish a metric for each number, in order."""
    items = [{"metric_type": metric_type, "data": {"n": n}, "source": source} for n in numbers]
    asyncio.run(broadcast_many(items))


def recorded_numbers(run):
    """Return the numbers that are recorded of a run, in order."""
    bodies = [json.loads(bytes(metric.body)) for metric in reader.rows(run)]
    assert TestRun.objects.get(pk=run.pk).metrics_recorded == len(bodies)
    return [body["data"]["n"] for body in bodies]


def active_slugs():
    """Return the slugs of the runs that the history has as active."""
    return [run.id for run in asyncio.run(open_history(get_settings()).active_runs())]


def record_run(seconds: int, **columns) -> tuple[TestRun, list[Metric]]:
    """Return a finished run and its metrics, one a second; the load rises to 9 and has a peak of 500."""
    run, recording = start_run(ended_at=timezone.now(), **columns), Recording("soak")
    values = [500.0 if second == 4 else float(second % 10) for second in range(seconds)]
    metrics = [metric(second, {"throughput_tps": value, "error_rate": 0.25}) for second, value in enumerate(values)]
    recording.record(*metrics)
    TestRun.objects.filter(pk=run.pk).update(status="completed", ended_at=run.started_at + timedelta(seconds=seconds))
    return recording.end(run), metrics
