"""The series of a recording: they agree with its metrics at every width, and lose no extreme."""

import random
from collections import defaultdict

import pytest

from metrics_stream.core.metrics.percentiles import rank_of
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.core.series.columns import SeriesKey
from metrics_stream.models import TierChunk
from metrics_stream.runs import series as run_series
from tests.support.recording import (
    START,
    Recording,
    by_series,
    check_series,
    metric,
    noise,
    recorded,
    start_run,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("max_points", [2000, 300, 60, 20, 7, 2])
def test_series_agree_with_the_metrics_at_every_width(max_points):
    run, recording = start_run(), Recording("soak")
    metrics = noise(900, rate=2, sources=("web-1",))
    for start in range(0, len(metrics), 200):
        recording.record(*metrics[start : start + 200])
    run.refresh_from_db()
    check_series(run, metrics, max_points=max_points)
    run = recording.end(run)
    found = check_series(run, metrics, max_points=max_points)
    assert all(len(one.buckets) <= max_points for one in found)
    since, until = START + 125, START + 590
    width = run_series.series(run, since=since, until=until, max_points=max_points)[0].bucket_seconds
    # The buckets at both ends are whole.
    part = [item for item in metrics if since // width <= item.timestamp // width <= until // width]
    check_series(run, part, since=since, until=until, max_points=max_points)


def test_coarsest_tier_that_is_fine_enough_is_read(django_assert_max_num_queries):
    run, recording = start_run(), Recording("soak")
    metrics = noise(3600, rate=0.5, sources=("web-1",))
    recording.record(*metrics)
    run = recording.end(run)
    assert run_series.series(run, max_points=50)[0].bucket_seconds == 120
    assert run_series.series(run, max_points=300)[0].bucket_seconds == 20
    assert run_series.series(run, max_points=2000)[0].bucket_seconds == 2
    with django_assert_max_num_queries(4):
        run_series.series(run, max_points=300)


@pytest.mark.parametrize(
    ("left", "bucket_seconds"), [((60,), 60), ((10,), 10), ((10, 60), 10), ((1,), 1), ((1, 60), 1)]
)
def test_peak_survives_whatever_tier_is_left(left, bucket_seconds):
    run, recording = start_run(), Recording("soak")
    peaks = {137.0: 1e6, 402.0: -1e6}
    metrics = [metric(at, {"tps": peaks.get(float(at), 100.0 + at % 7)}) for at in range(600)]
    recording.record(*metrics)
    run = recording.end(run)
    TierChunk.objects.exclude(bucket_seconds__in=left).delete()
    [one] = run_series.series(run, max_points=2000)
    assert one.bucket_seconds == bucket_seconds
    for max_points in (2000, 300, 60, 10, 2):
        [one] = run_series.series(run, max_points=max_points)
        assert (max(one.max), min(one.min)) == (1e6, -1e6)
        at_peak = int((START + 137 - one.starts_at) // one.bucket_seconds)
        assert one.max[one.buckets.index(at_peak)] == 1e6
    [line] = run_series.summary(run)
    assert (line.count, line.max, line.min) == (600, 1e6, -1e6)


def test_series_of_a_type_source_agent_and_field():
    run, recording = start_run(), Recording("soak")
    agents = [{"agent_id": name, "load": number, "of": {"x": 1}} for number, name in enumerate("ab")]
    recording.record(
        metric(1, {"tps": 1, "cost": {"sum": 2}}), metric(2, source="web-2"), metric(3, agents, metric_type="agent")
    )

    def names(**options):
        return [(one.source, one.row, one.field) for one in run_series.series(run, **options)]

    run.refresh_from_db()
    assert names(metric_type="system", source="web-1") == [("web-1", None, "tps"), ("web-1", None, "cost.sum")]
    assert names(row="agent_id=b") == [("web-1", "agent_id=b", "load"), ("web-1", "agent_id=b", "of.x")]
    assert names(field="of") == [("web-1", "agent_id=a", "of.x"), ("web-1", "agent_id=b", "of.x")]
    assert names(fields=("tps", "load"), source="web-1") == [
        ("web-1", "agent_id=a", "load"),
        ("web-1", "agent_id=b", "load"),
        ("web-1", None, "tps"),
    ]
    assert names(metric_type="hero") == []
    assert run_series.keys(run) == [
        (SeriesKey("agent", "web-1", "agent_id=a"), ("load", "of.x")),
        (SeriesKey("agent", "web-1", "agent_id=b"), ("load", "of.x")),
        (SeriesKey("system", "web-1", None), ("tps", "cost.sum")),
        (SeriesKey("system", "web-2", None), ("throughput_tps",)),
    ]


def test_run_without_metrics_has_no_series():
    run = start_run()
    assert run_series.series(run) == []
    assert run_series.summary(run) == []
    assert run_series.keys(run) == []


def test_summary_is_that_of_all_metrics():
    run, recording = start_run(), Recording("soak")
    metrics = noise(200)
    recording.record(*metrics)
    run.refresh_from_db()
    expected = {}
    for (_, source, _, field), pairs in by_series(metrics).items():
        values = [value for _, value in pairs]
        # The mean of a counter says nothing.
        mean = None if field == "total" else pytest.approx(sum(values) / len(values))
        expected[source, field] = (len(values), min(values), max(values), mean, values[-1])
    for found in (run_series.summary(run), run_series.summary(recording.end(run))):
        assert {(one.source, one.field): (one.count, one.min, one.max, one.mean, one.last) for one in found} == expected


def test_late_metrics_open_their_minute_again():
    run, recording = start_run(), Recording("soak")
    metrics = [metric(at, {"tps": at}) for at in range(0, 300, 2)]
    recording.record(*metrics)
    recording.now += 100
    recording.record()
    assert not TierChunk.objects.filter(is_open=True).exists()
    late = [metric(31, {"tps": -5}), metric(32.5, {"tps": 5000, "new": 1}), metric(200, {"tps": 7})]
    recording.record(*late)
    assert TierChunk.objects.filter(is_open=True).count() == 2
    run.refresh_from_db()
    for max_points in (2000, 30, 5):
        check_series(run, metrics + late, max_points=max_points)
    recording.new_writer()
    more = [metric(33, {"tps": 1}), metric(500, {"tps": 1})]
    recording.record(*more)
    run = recording.end(run)
    for max_points in (2000, 30, 5):
        check_series(run, metrics + late + more, max_points=max_points)
    assert recorded(run) == metrics + late + more


def test_timestamps_all_over_the_past_keep_few_minutes_open():
    run, recording = start_run(), Recording("soak")
    chance = random.Random(5)
    metrics = [metric(chance.randrange(400_000), {"tps": number}) for number in range(200)]
    for start in range(0, 200, 20):
        recording.record(*metrics[start : start + 20])
        recording.now = START
        assert TierChunk.objects.filter(is_open=True).count() <= 3
    run = recording.end(run)
    check_series(run, metrics, max_points=100)


def sketched(at, values, **others):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    # The value sent as p95 is wrong on purpose: only the sketches give the right one.
    return metric(at, {"p95_ms": 1.0, "sketches": {"ms": sketch.encode()}, **others})


def p95(parts):
    """Return the percentile of all values in some lists."""
    values = sorted(value for part in parts for value in part)
    return values[rank_of(0.95, len(values))]


def test_percentiles_come_from_merged_sketches_at_every_width():
    run, recording = start_run(), Recording("soak")
    chance = random.Random(2)
    values = {at: [chance.lognormvariate(3, 1) for _ in range(20)] for at in range(0, 400, 2)}
    metrics = [sketched(at, measured) for at, measured in values.items()]
    for start in range(0, 200, 50):
        recording.record(*metrics[start : start + 50])
        if start == 50:
            recording.new_writer()
    recording.now += 100
    recording.record()
    # The minute is closed, and a late metric opens it again.
    values[33] = [5000.0] * 20
    recording.record(sketched(33, values[33]))
    for _ in range(2):
        run.refresh_from_db()
        for max_points in (1000, 40, 7, 2):
            [one] = run_series.series(run, max_points=max_points)
            measured = defaultdict(list)
            for at, of_metric in values.items():
                measured[int((START + at - one.starts_at) // one.bucket_seconds)].append(of_metric)
            # A single metric of a bucket has the percentile that was published.
            exact = [1.0 if len(parts) == 1 else p95(parts) for parts in map(measured.get, one.buckets)]
            assert one.percentile == pytest.approx(exact, rel=0.0101)
        [line] = run_series.summary(run)
        assert line.percentile == pytest.approx(p95(values.values()), rel=0.0101)
        assert not line.is_worst
        recording.writer.finish(run.pk)


def test_percentile_is_the_worst_and_no_mean_when_a_sketch_is_missing():
    run, recording = start_run(), Recording("soak")
    recording.record(sketched(1, [5.0], tps=1), metric(1.5, {"p95_ms": 3.0}), sketched(2, [5.0]))
    run = recording.end(run)
    series = {one.field: one for one in run_series.series(run)}
    assert (series["p95_ms"].percentile, series["p95_ms"].is_worst) == ([3.0, 1.0], True)
    assert (series["tps"].percentile, series["tps"].is_worst) == (None, False)
    lines = {one.field: one for one in run_series.summary(run)}
    assert (lines["p95_ms"].percentile, lines["p95_ms"].is_worst, lines["p95_ms"].mean) == (3.0, True, None)
    assert (lines["tps"].percentile, lines["tps"].is_worst, lines["tps"].mean) == (None, False, 1.0)
    [one] = run_series.series(run, field="p95_ms", since=START + 2, until=START + 2)
    assert one.percentile == [1.0], "of a single metric it is the one that was published"
