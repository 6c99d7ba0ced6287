"""What is recorded of a run is all that was published, once, in order; and its series lose no extreme."""

import math
import random
from collections import defaultdict

import pytest
from django.contrib.admin.utils import NestedObjects
from django.db import DatabaseError

from metrics_stream.collectors.demo.simulation import DemoTest
from metrics_stream.core.errors import LeaseLostError
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.core.protocol.positions import Position
from metrics_stream.core.series.columns import SeriesKey
from metrics_stream.core.series.folding import readings
from metrics_stream.models import MetricChunk, RecorderState, SeriesGroup, TestRun, TierChunk
from metrics_stream.runs import open_run, reader
from metrics_stream.runs import series as run_series
from tests.support.recording import HOLDER, START, Recording, metric, start_run

pytestmark = pytest.mark.django_db

TIERS = (1, 10, 60)


def noise(seconds, *, rate=1.0, sources=("web-1", "web-2"), seed=1):
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
    return list(reader.rows(run))


def by_series(metrics):
    """Return the values of each series with their times, in the order of publishing."""
    found = defaultdict(list)
    for item in metrics:
        for agent_id, fields, values in readings(item.body):
            for field, value in zip(fields, values, strict=True):
                found[item.metric_type, item.source, agent_id, field].append((item.timestamp, value))
    return found


def check_series(run, metrics, **options):
    """Compare the series of a run with what its metrics say; return them."""
    series = run_series.series(run, **options)
    expected = by_series(metrics)
    assert {(one.metric_type, one.source, one.agent_id, one.field) for one in series} == expected.keys()
    for one in series:
        buckets = defaultdict(list)
        for at, value in sorted(
            expected[one.metric_type, one.source, one.agent_id, one.field], key=lambda pair: int(pair[0])
        ):
            buckets[int((at - one.starts_at) // one.bucket_seconds)].append(value)
        assert one.buckets == sorted(buckets)
        assert one.count == [len(buckets[bucket]) for bucket in one.buckets]
        assert one.min == [min(buckets[bucket]) for bucket in one.buckets]
        assert one.max == [max(buckets[bucket]) for bucket in one.buckets]
        assert one.last == [buckets[bucket][-1] for bucket in one.buckets]
        assert one.mean == pytest.approx([sum(buckets[bucket]) / len(buckets[bucket]) for bucket in one.buckets])
    return series


# --- metrics ---


def test_metrics_come_back_as_they_were_published():
    run, recording = start_run(), Recording("soak")
    demo = DemoTest(seed=3, agents=3)
    metrics = []
    for second in range(40):
        step = demo.step(second + 1.0)
        metrics += [
            metric(second, step.system),
            metric(second + 0.1, step.agents, metric_type="agent", source="web-2"),
            metric(second + 0.2, step.presentation, metric_type="presentation"),
        ]
        recording.record(*metrics[-3:])
    run = recording.end(run)
    assert recorded(run) == metrics
    assert run.metrics_recorded == 120
    assert run.first_at.timestamp() == START
    assert run.last_at.timestamp() == pytest.approx(START + 39.2)
    assert run.recording_ended_at is not None
    assert run.lost == []
    assert RecorderState.objects.get().position == {"epoch": "e1", "offsets": recording.offsets}


def test_pages_join_without_a_gap(monkeypatch):
    monkeypatch.setattr(open_run, "CHUNK_METRICS", 7)
    monkeypatch.setattr(reader, "_PAGE_CHUNKS", 2)
    run, recording = start_run(), Recording("soak")
    metrics = noise(50)
    recording.record(*metrics, each=3)
    found, cursor, pages = [], None, 0
    while True:
        page = reader.metrics(run, cursor=cursor, limit=8)
        found += page.items
        cursor, pages = page.cursor, pages + 1
        if page.is_last:
            break
    assert [item.metric for item in found] == metrics
    assert cursor == 50
    assert pages == 7
    times = [item.published_at for item in found]
    assert times == sorted(times)
    # Each stretch came when its last metric did.
    assert times[:4] == [START + 2, START + 2, START + 2, START + 5]


def test_reading_follows_a_run_that_goes_on():
    run, recording = start_run(), Recording("soak")
    first, later = noise(10), noise(20)[10:]
    assert reader.metrics(run) == reader.RecordedPage([], 0, is_last=True)
    recording.record(*first)
    page = reader.metrics(run, since=START + 9.5)
    assert (page.items, page.cursor, page.is_last) == ([], 10, True)
    recording.record(*later)
    page = reader.metrics(run, cursor=page.cursor)
    assert [item.metric for item in page.items] == later
    page = reader.metrics(run, since=START + 5, limit=3)
    assert [item.metric for item in page.items] == first[5:8]
    assert (page.cursor, page.is_last) == (8, False)
    assert list(reader.rows(run, until=12)) == first + later[:2]


def test_limit_counts_what_a_selection_leaves_out():
    run, recording = start_run(), Recording("soak")
    metrics = [metric(at, metric_type="hero" if at % 5 == 0 else "system") for at in range(20)]
    recording.record(*metrics)
    page = reader.metrics(run, limit=4, metric_types=("hero",))
    assert ([item.metric for item in page.items], page.cursor, page.is_last) == ([metrics[0]], 4, False)
    page = reader.metrics(run, cursor=11, limit=4, metric_types=("hero",))
    assert ([item.metric for item in page.items], page.cursor, page.is_last) == ([], 15, False)


def test_times_never_go_back_when_a_clock_does():
    run, recording = start_run(), Recording("soak")
    recording.write([recording.publish(metric(at), at=at) for at in (5, 3)])
    recording.write([recording.publish(metric(at), at=at) for at in (4, 6)])
    assert [item.published_at - START for item in reader.metrics(run).items] == [5, 5, 5, 6]


def test_newest_before_an_instant_is_one_of_each_key(monkeypatch):
    monkeypatch.setattr(open_run, "CHUNK_METRICS", 5)
    run, recording = start_run(), Recording("soak")
    quiet = metric(1, source="quiet")
    metrics = noise(60)
    recording.record(metrics[0], quiet, *metrics[1:])
    assert reader.newest_before(run, START + 40.5) == [quiet, metrics[39], metrics[40]]
    # The chunk in which the instant lies has the other key only behind it.
    assert reader.newest_before(run, START + 39.5) == [quiet, metrics[38], metrics[39]]
    assert reader.newest_before(run, START) == []
    assert reader.newest_before(run, START + 2) == [metrics[0], quiet, metrics[1]]
    assert reader.newest_before(run, START + 905) == [metrics[58], metrics[59]]


# --- series ---


@pytest.mark.parametrize("max_points", [2000, 300, 60, 20, 7, 2])
def test_series_say_what_the_metrics_say_at_every_width(max_points):
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
        return [(one.source, one.agent_id, one.field) for one in run_series.series(run, **options)]

    run.refresh_from_db()
    assert names(metric_type="system", source="web-1") == [("web-1", None, "tps"), ("web-1", None, "cost.sum")]
    assert names(agent_id="b") == [("web-1", "b", "load"), ("web-1", "b", "of.x")]
    assert names(field="of") == [("web-1", "a", "of.x"), ("web-1", "b", "of.x")]
    assert names(fields=("tps", "load"), source="web-1") == [
        ("web-1", "a", "load"),
        ("web-1", "b", "load"),
        ("web-1", None, "tps"),
    ]
    assert names(metric_type="hero") == []
    assert run_series.keys(run) == [
        (SeriesKey("agent", "web-1", "a"), ("load", "of.x")),
        (SeriesKey("agent", "web-1", "b"), ("load", "of.x")),
        (SeriesKey("system", "web-1", None), ("tps", "cost.sum")),
        (SeriesKey("system", "web-2", None), ("throughput_tps",)),
    ]


def test_run_without_metrics_has_no_series():
    run = start_run()
    assert run_series.series(run) == []
    assert run_series.summary(run) == []
    assert run_series.keys(run) == []
    assert run_series.overviews([run]) == {}


def test_overviews_prefer_the_load():
    runs = [start_run("a"), start_run("b")]
    recording = Recording("a", "b")
    recording.record(*[metric(at, {"queue": 1, "throughput_tps": at}) for at in range(100)])
    recording.runs = ("b",)
    recording.record(metric(101, {"hero": 5}, metric_type="hero"))
    runs = list(TestRun.objects.order_by("slug"))
    found = run_series.overviews(runs, preferred=(("hero", "hero"), ("system", "throughput_tps")), max_points=10)
    assert found[runs[0].pk].field == "throughput_tps"
    assert max(found[runs[0].pk].max) == 99
    assert (found[runs[1].pk].field, found[runs[1].pk].last) == ("hero", [5.0])


def test_summary_is_that_of_all_metrics():
    run, recording = start_run(), Recording("soak")
    metrics = noise(200)
    recording.record(*metrics)
    run.refresh_from_db()
    expected = {}
    for (_, source, _, field), pairs in by_series(metrics).items():
        values = [value for _, value in pairs]
        mean = pytest.approx(sum(values) / len(values))
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
    metrics = [metric(chance.randrange(-200_000, 200_000), {"tps": number}) for number in range(200)]
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
    # What is sent as p95 is wrong on purpose: only the sketches tell the right one.
    return metric(at, {"p95_ms": 1.0, "sketches": {"ms": sketch.encode()}, **others})


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
    # Closed by now, and opened again by what comes late.
    values[33] = [5000.0] * 20
    recording.record(sketched(33, values[33]))
    for _ in range(2):
        run.refresh_from_db()
        for max_points in (1000, 40, 7, 2):
            [one] = run_series.series(run, max_points=max_points)
            measured = defaultdict(list)
            for at, of_metric in values.items():
                measured[int((START + at - one.starts_at) // one.bucket_seconds)] += of_metric
            expected = [sorted(measured[bucket]) for bucket in one.buckets]
            exact = [found[math.floor(0.95 * (len(found) - 1))] for found in expected]
            assert one.percentile == pytest.approx(exact, rel=0.0101)
        everything = sorted(value for of_metric in values.values() for value in of_metric)
        [line] = run_series.summary(run)
        assert line.percentile == pytest.approx(everything[math.floor(0.95 * (len(everything) - 1))], rel=0.0101)
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
    assert one.percentile == [pytest.approx(5, rel=0.0101)]


# --- exactly once ---


def contents():
    """Return all that is stored of the runs, but for which rows hold it."""
    runs = {run.slug: run for run in TestRun.objects.all()}
    return {
        slug: (
            recorded(run),
            run.metrics_recorded,
            run.recorded_until,
            [run_series.series(run, max_points=points) for points in (2000, 60, 5)],
        )
        for slug, run in runs.items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_recording_goes_on_exactly_where_a_kill_left_it(seed, monkeypatch):
    monkeypatch.setattr(open_run, "CHUNK_METRICS", 40)
    chance = random.Random(seed)
    run, broken = start_run(), Recording("soak")
    metrics = noise(400, rate=0.7, seed=seed)
    published_parts = []
    start = 0
    while start < len(metrics):
        length = chance.randrange(1, 60)
        published_parts.append(metrics[start : start + length])
        start += length
    for part in published_parts:
        before = broken.position
        batches = [broken.publish(item) for item in part]
        broken.now = part[-1].timestamp
        if chance.random() < 0.5:
            # Killed: in the middle, or when all was written but nobody said so; the next one reads it again.
            cut = chance.randrange(len(batches))
            done = Position("e1", {"system": before.offsets.get("system", 0) + cut})
            broken.write(batches[:cut], done)
            broken.new_writer()
        broken.write(batches)
    broken.end(run)
    run, unbroken = start_run("unbroken"), Recording("unbroken")
    for part in published_parts:
        unbroken.record(*part)
    unbroken.end(run)
    found = contents()
    assert found["soak"][0] == metrics
    assert found["soak"] == found["unbroken"]


def test_what_a_run_has_already_is_passed_over():
    run, recording = start_run(), Recording("soak")
    metrics = [metric(at) for at in range(10)]
    whole = recording.publish(*metrics)
    recording.write([whole.before(6)], Position("e1", {"system": 6}))
    recording.write([whole])
    recording.write([whole, whole.after(4)])
    # The recorder's own place is gone; that of the run is not.
    RecorderState.objects.update(position=None)
    recording.write([whole])
    assert recorded(run) == metrics
    run.refresh_from_db()
    assert run.metrics_recorded == 10
    assert [one.count for one in run_series.series(run)] == [[1] * 10]
    assert run.lost == []


@pytest.mark.parametrize("table", [MetricChunk, TierChunk])
def test_write_that_fails_leaves_nothing_and_is_made_up_for(table, monkeypatch):
    run, recording = start_run(), Recording("soak")
    first, second = noise(20), noise(40)[20:]
    recording.record(*first)
    before = contents()
    batches = [recording.publish(item) for item in second]

    def fail(*args, **kwargs):
        raise DatabaseError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(table.objects, "bulk_create", fail)
        with pytest.raises(DatabaseError):
            recording.write(batches)
        assert contents() == before
    recording.write(batches)
    assert recorded(run) == first + second
    run.refresh_from_db()
    check_series(run, first + second)


def test_writer_whose_place_was_taken_writes_nothing():
    run, recording = start_run(), Recording("soak")
    first, second, third = noise(10), noise(20)[10:], noise(30)[20:]
    recording.record(*first)
    left = recording.writer
    # Another one came, wrote, and left.
    RecorderState.objects.update(holder="other")
    batches = [recording.publish(item) for item in second]
    with pytest.raises(LeaseLostError, match=r"^'web-1:1:aaaa' does not record any more; 'other' does$"):
        left.write(batches, recording.position, holder=HOLDER)
    with pytest.raises(LeaseLostError):
        left.write([], recording.position, holder=HOLDER)
    recording.new_writer().write(batches, recording.position, holder="other")
    with pytest.raises(LeaseLostError):
        left.write([], recording.position, holder=HOLDER)
    RecorderState.objects.update(holder=HOLDER)
    batches = [recording.publish(item) for item in third]
    left.write(batches, recording.position, holder=HOLDER)
    assert recorded(run) == first + second + third
    run.refresh_from_db()
    check_series(run, first + second + third)


def test_writer_that_was_away_reads_what_another_wrote():
    run, recording = start_run(), Recording("soak")
    first, second, third = noise(10), noise(20)[10:], noise(30)[20:]
    recording.record(*first)
    left = recording.writer
    RecorderState.objects.update(holder="other")
    batches = [recording.publish(item) for item in second]
    recording.new_writer().write(batches, recording.position, holder="other")
    RecorderState.objects.update(holder=HOLDER)
    left.write([recording.publish(item) for item in third], recording.position, holder=HOLDER)
    assert recorded(run) == first + second + third
    run.refresh_from_db()
    check_series(run, first + second + third)


def test_place_that_is_taken_during_a_write_undoes_it(monkeypatch):
    run, recording = start_run(), Recording("soak")
    recording.record(*noise(5))
    changes = open_run.OpenRun.changes

    def lose(self, *args, **kwargs):
        RecorderState.objects.update(holder="other")
        return changes(self, *args, **kwargs)

    monkeypatch.setattr(open_run.OpenRun, "changes", lose)
    with pytest.raises(LeaseLostError):
        recording.record(*noise(9)[5:])
    assert len(recorded(run)) == 5
    assert RecorderState.objects.get().position == {"epoch": "e1", "offsets": {"system": 5}}


def test_each_run_gets_the_metrics_of_its_sources():
    runs = {slug: start_run(slug) for slug in ("a", "b", "idle")}
    recording = Recording()
    metrics = noise(30, sources=("web-1", "web-2", "web-3"))
    batch = recording.publish(*metrics)
    batch.runs.update({"web-1": ("a", "unknown"), "web-2": ("a", "b"), "web-3": ("unknown",)})
    recording.write([batch])
    assert recorded(runs["a"]) == [item for item in metrics if item.source in ("web-1", "web-2")]
    assert recorded(runs["b"]) == [item for item in metrics if item.source == "web-2"]
    assert recorded(runs["idle"]) == []
    for run in TestRun.objects.all():
        assert run.recorded_until == {"epoch": "e1", "offsets": {"system": 30}}
        check_series(run, recorded(run))


def test_run_that_is_deleted_meanwhile_is_forgotten():
    run, other = start_run(), start_run("other")
    recording = Recording("soak", "other")
    recording.record(*noise(10))
    run.delete()
    recording.record(*noise(20)[10:])
    assert recorded(other) == noise(20)
    assert set(MetricChunk.objects.values_list("run_id", flat=True)) == {other.pk}
    recording.writer.finish(run.pk or 1_000_000)


def test_finished_run_takes_what_comes_late():
    run, recording = start_run(), Recording("soak")
    metrics = noise(30)
    recording.record(*metrics[:20])
    run = recording.end(run)
    recording.record(*metrics[20:])
    run = recording.end(run)
    assert recorded(run) == metrics
    check_series(run, metrics, max_points=3)
    assert not TierChunk.objects.filter(is_open=True).exists()


# --- losses ---


def lost(run):
    run.refresh_from_db()
    return [(entry["metric_type"], entry["count"], entry["reason"]) for entry in run.lost]


def test_missing_stretches_are_noted_with_their_count():
    run, recording = start_run(), Recording("soak")
    batches = [recording.publish(metric(at)) for at in range(10)]
    recording.write(batches[:3], Position("e1", {"system": 3}))
    recording.write([*batches[5:6], *batches[8:]])
    assert lost(run) == [("system", 2, "history"), ("system", 2, "history")]
    assert run.lost[0]["at"] == "2027-01-15T08:00:05+00:00"
    assert len(recorded(run)) == 6


def test_position_behind_the_last_stretch_tells_a_loss_too():
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1), metric(2, metric_type="hero"))
    recording.write([], Position("e1", {"system": 6, "hero": 1, "agent": 7}))
    # Of agents nobody knows where the run began.
    assert lost(run) == [("system", 5, "history")]


def test_new_epoch_is_a_loss_that_nobody_can_count():
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1), metric(2, metric_type="hero"))
    recording.epoch, recording.offsets = "e2", {}
    recording.record(metric(3))
    assert lost(run) == [("hero", None, "epoch"), ("system", None, "epoch")]
    assert run.recorded_until == {"epoch": "e2", "offsets": {"system": 1}}
    assert recorded(run) == [metric(1), metric(2, metric_type="hero"), metric(3)]


def test_what_others_published_is_no_loss():
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1))
    recording.runs = ()
    recording.record(metric(2), metric(3))
    recording.new_writer()
    recording.record(metric(4))
    TestRun.objects.update(status="paused")
    recording.publish(metric(5))
    recording.record(metric(6))
    TestRun.objects.update(status="running")
    recording.runs = ("soak",)
    recording.record(metric(7))
    assert lost(run) == []
    assert recorded(run) == [metric(1), metric(7)]


def test_known_losses_stay_few(monkeypatch):
    monkeypatch.setattr(open_run, "MAX_LOST", 3)
    run, recording = start_run(), Recording("soak")
    recording.record(metric(0))
    for at in range(1, 6):
        recording.publish(metric(at))
        recording.record(metric(at))
    assert lost(run) == [("system", 1, "history"), ("system", 1, "history"), ("system", 3, "history")]


# --- what comes with it ---


def test_names_that_no_database_stores_are_recorded_all_the_same():
    run, recording = start_run(), Recording("soak")
    metrics = [
        metric(1, {"bad\0name": 1, "tps": 2}, source="web\0"),
        metric(2, [{"agent_id": "a" * 900 + "\0", "load": 3}], metric_type="agent"),
    ]
    recording.record(*metrics)
    run = recording.end(run)
    assert recorded(run) == metrics
    assert [(one.source, one.agent_id, one.field) for one in run_series.series(run)] == [
        ("web-1", "a" * 200, "load"),
        ("web\ufffd", None, "tps"),
    ]


def test_series_of_a_run_are_bounded(monkeypatch):
    monkeypatch.setattr(open_run, "MAX_SERIES", 5)
    run, recording = start_run(), Recording("soak")
    for at in range(10):
        recording.record(metric(at * 100, {f"field_{at}": at, "tps": at}))
    run = recording.end(run)
    assert len(recorded(run)) == 10
    assert {one.field for one in run_series.series(run)} == {"tps", *(f"field_{number}" for number in range(4))}
    assert run_series.series(run, field="tps")[0].last == list(range(10))


def test_names_that_count_up_fill_neither_memory_nor_database(monkeypatch):
    monkeypatch.setattr(open_run, "MAX_SERIES", 5)
    run, recording = start_run(), Recording("soak")
    for at in range(10):
        recording.record(metric(at * 100, {"tps": at}, source=f"host-{at}"))
    run = recording.end(run)
    assert len(recorded(run)) == 10
    assert {one.source for one in run_series.series(run)} == {f"host-{number}" for number in range(5)}
    assert SeriesGroup.objects.filter(run=run).count() == 5
    assert TierChunk.objects.filter(run=run, bucket_seconds=1).count() == 5


def test_saving_a_run_leaves_alone_what_is_recorded_meanwhile():
    run, recording = start_run(), Recording("soak")
    edited = TestRun.objects.get(pk=run.pk)
    recording.record(*noise(3))
    edited.notes = "went well"
    edited.save()
    run.refresh_from_db()
    assert (run.notes, run.metrics_recorded) == ("went well", 3)
    assert run.history.count() == 2


def test_deleting_a_run_takes_all_of_it_and_asks_about_nothing_else():
    run, recording = start_run(), Recording("soak")
    recording.record(*noise(100))
    collector = NestedObjects(using="default")
    collector.collect([run])
    assert collector.nested() == [run]
    TestRun.objects.filter(pk=run.pk).delete()
    for model in (TestRun, MetricChunk, SeriesGroup, TierChunk):
        assert not model.objects.exists()


# --- how much it is ---


def stored_bytes(run):
    payloads = [
        *MetricChunk.objects.filter(run=run).values_list("payload", flat=True),
        *TierChunk.objects.filter(run=run).values_list("payload", flat=True),
    ]
    return sum(len(payload) for payload in payloads)


def count_numbers(metrics):
    return sum(len(values) for item in metrics for _, _, values in readings(item.body))


def test_numbers_of_a_fast_test_take_less_than_20_bytes():
    run, recording = start_run(), Recording("soak")
    chance = random.Random(1)
    metrics = [
        metric(
            number / 1000,
            {f"field_number_{field}": chance.random() * 1000 for field in range(12)},
            source=f"web-{number % 20}",
        )
        for number in range(3000)
    ]
    for start in range(0, 3000, 1000):
        recording.record(*metrics[start : start + 1000], each=20)
    run = recording.end(run)
    assert stored_bytes(run) / count_numbers(metrics) < 14


def test_numbers_of_the_demo_take_less_than_20_bytes():
    run, recording = start_run(), Recording("soak")
    demo = DemoTest(seed=1, agents=5)
    metrics = []
    for second in range(120):
        step = demo.step(second + 1.0)
        metrics += [
            metric(second, step.system),
            metric(second, step.agents, metric_type="agent"),
            metric(second, step.business, metric_type="business"),
            metric(second, step.hero, metric_type="hero"),
            metric(second, step.presentation, metric_type="presentation"),
        ]
    recording.record(*metrics)
    run = recording.end(run)
    assert stored_bytes(run) / count_numbers(metrics) < 13
