"""The state of a run that is being recorded: bounded in names, series, losses and bytes."""

import random

import msgspec
import pytest
from django.contrib.admin.utils import NestedObjects

from metrics_stream.collectors.demo.simulation import DemoTest
from metrics_stream.core.metrics.keys import agent_row, make_storable
from metrics_stream.core.series.folding import readings
from metrics_stream.models import MetricChunk, SeriesGroup, TestRun, TierChunk
from metrics_stream.runs import open_run, progress
from metrics_stream.runs import series as run_series
from tests.support.recording import Recording, metric, noise, recorded, start_run

pytestmark = pytest.mark.django_db


def lost(run):
    run.refresh_from_db()
    return [(entry["metric_type"], entry["count"], entry["reason"]) for entry in run.lost]


def test_known_losses_stay_few(monkeypatch):
    monkeypatch.setattr(progress, "MAX_LOST", 3)
    run, recording = start_run(), Recording("soak")
    recording.record(metric(0))
    for at in range(1, 6):
        recording.publish(metric(at))
        recording.record(metric(at))
    assert lost(run) == [("system", 1, "history"), ("system", 1, "history"), ("system", 3, "history")]


def test_names_that_no_database_can_store_are_recorded_nevertheless():
    run, recording = start_run(), Recording("soak")
    agent, longest = metric(2, [{"agent_id": "a", "load": 3}], metric_type="agent"), "a\0" + "a" * 1_700
    body = agent.body.replace(b'"a"', msgspec.json.encode(longest))
    metrics = [
        metric(1, {"bad\0name": 1, "tps": 2}, source="web\0"),
        # Only a program that does not use the helper can publish such an agent.
        msgspec.structs.replace(agent, rows=(agent_row(longest),), body=body),
    ]
    recording.record(*metrics)
    run = recording.end(run)
    assert recorded(run) == metrics
    assert [(one.source, one.row, one.field) for one in run_series.series(run)] == [
        ("web-1", make_storable(agent_row(longest)), "load"),
        ("web\ufffd", None, "tps"),
    ]


def test_series_of_a_run_are_bounded(monkeypatch):
    monkeypatch.setattr(open_run, "MAX_SERIES", 5)
    monkeypatch.setattr(open_run, "RESERVED_SERIES", 2)
    run, recording = start_run(), Recording("soak")
    for at in range(10):
        recording.record(metric(at * 100, {f"field_{at}": at, "tps": at}))
    run = recording.end(run)
    assert len(recorded(run)) == 10
    assert {one.field for one in run_series.series(run)} == {"tps", *(f"field_{number}" for number in range(4))}
    assert run_series.series(run, field="tps")[0].last == list(range(10))
    assert run.series_left_out == [["system", "web-1"]]


def test_a_source_takes_no_series_of_others(monkeypatch):
    monkeypatch.setattr(open_run, "MAX_SERIES", 6)
    monkeypatch.setattr(open_run, "RESERVED_SERIES", 2)
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1, {f"field_{number}": 1 for number in range(9)}))
    recording.record(metric(100, {"a": 1, "b": 1, "c": 1}, source="other"))
    run = recording.end(run)
    found = {(one.source, one.field) for one in run_series.series(run)}
    assert found == {*(("web-1", f"field_{number}") for number in range(6)), ("other", "a"), ("other", "b")}
    assert sorted(run.series_left_out) == [["system", "other"], ["system", "web-1"]]


def test_ever_new_names_fill_neither_memory_nor_database(monkeypatch):
    monkeypatch.setattr(open_run, "MAX_SERIES", 5)
    run, recording = start_run(), Recording("soak")
    for at in range(10):
        recording.record(metric(at * 100, {"tps": at}, source=f"host-{at}"))
    run = recording.end(run)
    assert len(recorded(run)) == 10
    assert {one.source for one in run_series.series(run)} == {f"host-{number}" for number in range(7)}
    assert SeriesGroup.objects.filter(run=run).count() == 7
    assert TierChunk.objects.filter(run=run, bucket_seconds=1).count() == 7


def test_saving_a_run_does_not_overwrite_what_is_recorded_meanwhile():
    run, recording = start_run(), Recording("soak")
    edited = TestRun.objects.get(pk=run.pk)
    recording.record(*noise(3))
    edited.notes = "went well"
    edited.save()
    run.refresh_from_db()
    assert (run.notes, run.metrics_recorded) == ("went well", 3)
    assert run.history.count() == 2


def test_deleting_a_run_deletes_its_recording_and_nothing_else():
    run, recording = start_run(), Recording("soak")
    recording.record(*noise(100))
    collector = NestedObjects(using="default")
    collector.collect([run])
    assert collector.nested() == [run]
    TestRun.objects.filter(pk=run.pk).delete()
    for model in (TestRun, MetricChunk, SeriesGroup, TierChunk):
        assert not model.objects.exists()


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
