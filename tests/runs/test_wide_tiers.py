"""Long runs: their wide tiers say the same as their metrics, while they grow, after a takeover, and of late metrics."""

import pytest

from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.models import TestRun, TierChunk
from metrics_stream.runs import series as run_series
from metrics_stream.runs.tiers import WIDE
from tests.support.recording import START, Recording, by_series, check_series, metric, start_run

pytestmark = pytest.mark.django_db

HOUR = 3_600


def values(begin, end, step=300, sources=("web-1", "web-2")):
    """Return metrics of a source in turn, one every `step` seconds."""
    return [
        metric(at, {"tps": at % 977, "level": at}, source=sources[at // step % len(sources)])
        for at in range(begin, end, step)
    ]


def stored(run):
    """Return the tiers of which there are rows."""
    return set(TierChunk.objects.filter(run=run).values_list("bucket_seconds", flat=True))


def check_summary(run, metrics):
    """Compare the summary of a run with what its metrics say."""
    found = {(row.metric_type, row.source, row.row, row.field): row for row in run_series.summary(run)}
    expected = by_series(metrics)
    assert found.keys() == expected.keys()
    for key, row in found.items():
        numbers = [value for _, value in sorted(expected[key], key=lambda pair: pair[0])]
        assert (row.count, row.min, row.max, row.last) == (len(numbers), min(numbers), max(numbers), numbers[-1])
        assert row.mean == pytest.approx(sum(numbers) / len(numbers))


def check_all(run, metrics):
    run = TestRun.objects.get(pk=run.pk)
    for max_points in (2, 10, 40, 300, 1000):
        check_series(run, metrics, max_points=max_points)
    check_summary(run, metrics)


def test_a_long_run_is_the_same_at_every_width_while_it_grows_and_after_its_end():
    run, recording = start_run(), Recording("soak")
    metrics = []
    for begin in range(0, 40 * HOUR, 8 * HOUR):
        for part in range(begin, begin + 8 * HOUR, HOUR):
            more = values(part, part + HOUR)
            recording.record(*more)
            metrics += more
        check_all(run, metrics)
    assert stored(run) >= {*WIDE}
    run = recording.end(run)
    check_all(run, metrics)
    assert run.tiers_until == {"600": (int(START) + 40 * HOUR) // 600, **last_edges(run)}


def last_edges(run):
    last = int(run.last_at.timestamp())
    return {str(tier): last // tier + 1 for tier in WIDE[1:]}


def test_a_takeover_in_the_middle_changes_nothing():
    run, recording = start_run(), Recording("soak")
    metrics = values(0, 20 * HOUR)
    for place in range(0, len(metrics), 11):
        recording.record(*metrics[place : place + 11])
        recording.new_writer()
    check_all(run, metrics)
    check_all(recording.end(run), metrics)


def test_late_metrics_come_into_wide_buckets_that_are_made_already():
    run, recording = start_run(), Recording("soak")
    early = values(0, 13 * HOUR)
    late = [metric(at, {"tps": 5_000.0 + at, "level": 1}, source="web-2") for at in (20, 4_000, 4_010, 8 * HOUR)]
    recording.record(*early)
    recording.record(*values(13 * HOUR, 14 * HOUR))
    recording.now += 20
    recording.write([recording.publish(*late, at=14 * HOUR)])
    recording.now += 20
    recording.write([])
    check_all(recording.end(run), [*early, *values(13 * HOUR, 14 * HOUR), *late])


def test_a_run_with_a_long_pause_is_whole():
    run, recording = start_run(), Recording("soak")
    metrics = [*values(0, 2 * HOUR), *values(500 * HOUR, 503 * HOUR)]
    for item in metrics:
        recording.record(item)
    check_all(run, metrics)
    check_all(recording.end(run), metrics)


def test_runs_of_earlier_versions_are_read_from_the_tiers_that_they_have():
    run, recording = start_run(), Recording("soak")
    metrics = values(0, 30 * HOUR)
    recording.record(*metrics)
    run = recording.end(run)
    TierChunk.objects.filter(bucket_seconds__in=WIDE).delete()
    TestRun.objects.update(tiers_until={})
    check_all(run, metrics)


def test_a_run_that_an_earlier_version_began_catches_up():
    run, recording = start_run(), Recording("soak")
    metrics = values(0, 80 * HOUR)
    recording.record(*metrics)
    recording.now += 20
    recording.write([])
    TierChunk.objects.filter(bucket_seconds__in=WIDE).delete()
    TestRun.objects.update(tiers_until={})
    recording.new_writer()
    for hour in range(80, 84):
        more = values(hour * HOUR, (hour + 1) * HOUR)
        recording.record(*more)
        metrics += more
        check_all(run, metrics)
    check_all(recording.end(run), metrics)
    assert stored(run) >= {*WIDE}


def test_sketches_and_nulls_are_in_wide_buckets():
    run, recording = start_run(), Recording("soak")
    values = {at: [1.0, 2.0, float(at)] for at in range(10, 30 * HOUR, 300)}
    metrics = []
    for at, measured in values.items():
        sketch = Sketch()
        for value in measured:
            sketch.add(value)
        # The value sent as p95 is wrong on purpose: only the sketches give the right one.
        data = {"p99_ms": 1.0, "n": None if at < 3 * HOUR else 1, "sketches": {"ms": sketch.encode()}}
        metrics.append(metric(at, data))
    recording.record(metric(0, {"n": 1}), *metrics)
    run = recording.end(run)
    found = {one.field: one for one in run_series.series(run, max_points=12)}
    percentile = found["p99_ms"]
    assert percentile.bucket_seconds >= HOUR
    for bucket, value in zip(percentile.buckets, percentile.percentile, strict=True):
        begin = percentile.starts_at + bucket * percentile.bucket_seconds - START
        measured = sorted(
            value
            for at, of_metric in values.items()
            if begin <= at < begin + percentile.bucket_seconds
            for value in of_metric
        )
        assert value == pytest.approx(measured[-1], rel=0.1)
    # Nulls end the line where nothing else is.
    assert found["n"].nulls == [bucket for bucket in range(found["n"].buckets[1]) if bucket not in found["n"].buckets]
