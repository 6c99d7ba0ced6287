"""Writing a recording: each metric once, whatever happens to the writer, and losses are stored."""

import random

import pytest
from django.db import DatabaseError

from metrics_stream.core.errors import LeaseLostError
from metrics_stream.core.protocol.positions import Position
from metrics_stream.models import MetricChunk, RecorderState, TestRun, TierChunk
from metrics_stream.runs import open_run
from metrics_stream.runs import series as run_series
from tests.support.recording import HOLDER, Recording, check_series, metric, noise, recorded, start_run

pytestmark = pytest.mark.django_db


def contents():
    """Return everything that is stored of the runs, whatever rows it is in."""
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
def test_recording_continues_exactly_after_a_kill(seed, monkeypatch):
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
            # Killed in the middle, or after the write but before its position was stored: it is read again.
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


def test_metrics_that_a_run_already_has_are_skipped():
    run, recording = start_run(), Recording("soak")
    metrics = [metric(at) for at in range(10)]
    whole = recording.publish(*metrics)
    recording.write([whole.before(6)], Position("e1", {"system": 6}))
    recording.write([whole])
    recording.write([whole, whole.after(4)])
    # The position of the recorder is lost; that of the run is not.
    RecorderState.objects.update(position=None)
    recording.write([whole])
    assert recorded(run) == metrics
    run.refresh_from_db()
    assert run.metrics_recorded == 10
    assert [one.count for one in run_series.series(run)] == [[1] * 10]
    assert run.lost == []


@pytest.mark.parametrize("table", [MetricChunk, TierChunk])
def test_a_write_that_fails_changes_nothing_and_can_be_repeated(table, monkeypatch):
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


def record_first_of_three():
    """Return a run, its recording, and three parts of its metrics, of which the first is recorded."""
    run, recording = start_run(), Recording("soak")
    parts = noise(10), noise(20)[10:], noise(30)[20:]
    recording.record(*parts[0])
    return run, recording, parts


def test_a_writer_that_lost_its_lease_writes_nothing():
    run, recording, (first, second, third) = record_first_of_three()
    left = recording.writer
    # Another writer takes the lease, writes, and releases it.
    RecorderState.objects.update(holder="other")
    batches = [recording.publish(item) for item in second]
    with pytest.raises(LeaseLostError, match=r"^'web-1:1:aaaa' no longer records; 'other' does$"):
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


def test_a_writer_that_gets_its_lease_back_reads_what_another_wrote():
    run, recording, (first, second, third) = record_first_of_three()
    left = recording.writer
    RecorderState.objects.update(holder="other")
    batches = [recording.publish(item) for item in second]
    recording.new_writer().write(batches, recording.position, holder="other")
    RecorderState.objects.update(holder=HOLDER)
    left.write([recording.publish(item) for item in third], recording.position, holder=HOLDER)
    assert recorded(run) == first + second + third
    run.refresh_from_db()
    check_series(run, first + second + third)


def test_a_lease_that_is_lost_during_a_write_undoes_the_write(monkeypatch):
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


def test_a_run_that_is_deleted_is_forgotten():
    run, other = start_run(), start_run("other")
    recording = Recording("soak", "other")
    recording.record(*noise(10))
    run.delete()
    recording.record(*noise(20)[10:])
    assert recorded(other) == noise(20)
    assert set(MetricChunk.objects.values_list("run_id", flat=True)) == {other.pk}
    recording.writer.finish(run.pk or 1_000_000)


def test_a_finished_run_accepts_late_metrics():
    run, recording = start_run(), Recording("soak")
    metrics = noise(30)
    recording.record(*metrics[:20])
    run = recording.end(run)
    recording.record(*metrics[20:])
    run = recording.end(run)
    assert recorded(run) == metrics
    check_series(run, metrics, max_points=3)
    assert not TierChunk.objects.filter(is_open=True).exists()


def lost(run):
    run.refresh_from_db()
    return [(entry["metric_type"], entry["count"], entry["reason"]) for entry in run.lost]


def test_missing_metrics_are_stored_with_their_count():
    run, recording = start_run(), Recording("soak")
    batches = [recording.publish(metric(at)) for at in range(10)]
    recording.write(batches[:3], Position("e1", {"system": 3}))
    recording.write([*batches[5:6], *batches[8:]])
    assert lost(run) == [("system", 2, "history"), ("system", 2, "history")]
    assert run.lost[0]["at"] == "2027-01-15T08:00:05+00:00"
    assert len(recorded(run)) == 6


def test_a_position_after_the_last_batch_shows_a_loss_too():
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1), metric(2, metric_type="hero"))
    recording.write([], Position("e1", {"system": 6, "hero": 1, "agent": 7}))
    # For agents, the position at the start of the run is unknown.
    assert lost(run) == [("system", 5, "history")]


def test_a_new_epoch_is_a_loss_of_unknown_count():
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1), metric(2, metric_type="hero"))
    recording.epoch, recording.offsets = "e2", {}
    recording.record(metric(3))
    assert lost(run) == [("hero", None, "epoch"), ("system", None, "epoch")]
    past = {"e1": {"system": 1, "hero": 1}}
    assert run.recorded_until == {"epoch": "e2", "offsets": {"system": 1}, "past": past}
    assert recorded(run) == [metric(1), metric(2, metric_type="hero"), metric(3)]


def test_metrics_of_other_runs_are_no_loss():
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
