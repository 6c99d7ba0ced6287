"""The recorder, a step at a time: what belongs to a run is in the database, once and in order, whatever happened."""

import asyncio
import json
import time
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from metrics_stream.broadcast import broadcast_many
from metrics_stream.bus.bus import declare_server
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import LeaseLostError
from metrics_stream.history import open_history
from metrics_stream.models import MetricChunk, RecorderState, TestRun
from metrics_stream.runs import lifecycle as runs
from metrics_stream.runs import recorder as recorder_module
from metrics_stream.runs.reader import rows
from metrics_stream.runs.recorder import Recorder, lag_seconds, start_recorder, stop_recorder, the_recorder
from tests.support.stack import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def serving():
    """Let this process count as a server, so that what it publishes is taken."""
    declare_server()


class Clock:
    """What the recorders take for the time; it stands still."""

    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_recorder(clock):
    """A maker of recorders whose steps are taken by the test."""
    made = []

    def make(name="here"):
        one = Recorder(get_settings(), name=name, clock=clock)
        made.append(one)
        one.open()
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def recorder(make_recorder):
    return make_recorder()


def publish(*numbers, source="counter", metric_type="system"):
    items = [{"metric_type": metric_type, "data": {"n": n}, "source": source} for n in numbers]
    asyncio.run(broadcast_many(items))


def recorded(run):
    """Return the numbers that are recorded of a run, in order."""
    bodies = [json.loads(bytes(metric.body)) for metric in rows(run)]
    assert TestRun.objects.get(pk=run.pk).metrics_recorded == len(bodies)
    return [body["data"]["n"] for body in bodies]


def active():
    return [run.id for run in asyncio.run(open_history(get_settings()).active_runs())]


def test_what_is_published_during_a_run_is_recorded(recorder):
    publish(1)
    recorder.step()
    run = runs.start("soak")
    publish(2, 3)
    recorder.step()
    assert recorded(run) == [2, 3]
    publish(4)
    publish(5, metric_type="hero")
    recorder.step()
    recorder.step()
    assert recorded(run) == [2, 3, 4, 5]


def test_a_run_that_ended_is_recorded_to_its_end_and_no_further(recorder):
    run = runs.start("soak")
    publish(1)
    recorder.step()
    publish(2)
    runs.stop(run)
    publish(3)
    assert TestRun.objects.get().recording_ended_at is None
    recorder.step()
    assert recorded(run) == [1, 2]
    assert TestRun.objects.get().recording_ended_at is not None
    publish(4)
    recorder.step()
    assert recorded(run) == [1, 2]


def test_a_run_that_nobody_recorded_meanwhile_is_recorded_later(recorder):
    publish(0)
    run = runs.start("soak")
    publish(1, 2)
    runs.stop(run)
    publish(3)
    recorder.step()
    assert recorded(run) == [1, 2]
    assert TestRun.objects.get().lost == []


def test_overlapping_runs_get_what_their_sources_publish(recorder):
    everything, one = runs.start("everything"), runs.start("one", sources=["a"])
    publish(1, source="a")
    publish(2, source="b")
    recorder.step()
    assert (recorded(everything), recorded(one)) == ([1, 2], [1])


def test_a_paused_run_misses_what_is_published_and_nothing_is_called_lost(recorder):
    run = runs.start("soak")
    publish(1)
    recorder.step()
    runs.pause(run)
    publish(2)
    recorder.step()
    runs.resume(run)
    publish(3)
    recorder.step()
    assert recorded(run) == [1, 3]
    assert TestRun.objects.get().lost == []


def test_more_than_a_page_is_recorded_in_one_step(recorder):
    run = runs.start("soak")
    for first in range(0, 12_000, 400):
        publish(*range(first, first + 400))
    recorder.step()
    assert recorded(run) == list(range(12_000))


# --- who records ---


def test_only_one_records(make_recorder):
    first, second = make_recorder("first"), make_recorder("second")
    run = runs.start("soak")
    for number in range(3):
        publish(number)
        first.step()
        second.step()
    assert (first.records, second.records) == (True, False)
    assert recorded(run) == [0, 1, 2]
    assert RecorderState.objects.get().holder.startswith("first:")


def test_another_takes_over_when_the_first_falls_silent(make_recorder, clock):
    first, second = make_recorder("first"), make_recorder("second")
    run = runs.start("soak")
    publish(1)
    first.step()
    publish(2)
    second.step()
    clock.now += 4.9
    second.step()
    assert not second.records
    clock.now += 0.1
    second.step()
    assert second.records
    assert recorded(run) == [1, 2]
    # The first one was only slow, and comes back.
    publish(3)
    first.step()
    assert not first.records
    second.step()
    assert recorded(run) == [1, 2, 3]


def test_one_that_loses_its_right_within_a_step_writes_nothing(recorder, monkeypatch):
    run = runs.start("soak")
    publish(1)
    recorder.step()
    publish(2)
    told = recorder._tell_history

    def lose(history):
        told(history)
        RecorderState.objects.update(holder="another")

    monkeypatch.setattr(recorder, "_tell_history", lose)
    with pytest.raises(LeaseLostError, match="'another' does"):
        recorder.step()
    assert recorded(run) == [1]
    assert not recorder.records


def test_two_processes_of_one_name_do_not_both_record(make_recorder):
    first, second = make_recorder("same:1"), make_recorder("same:1")
    first.step()
    second.step()
    assert (first.records, second.records) == (True, False)


def test_after_an_hour_without_a_server_the_first_one_need_not_wait(make_recorder):
    first, second = make_recorder("first"), make_recorder("second")
    first.step()
    RecorderState.objects.update(renewed_at=timezone.now() - timedelta(hours=1))
    second.step()
    assert second.records


def test_one_that_lives_keeps_the_right_while_nothing_is_recorded(make_recorder, clock):
    first, second = make_recorder("first"), make_recorder("second")
    for _ in range(20):
        first.step()
        second.step()
        clock.now += 1
    assert (first.records, second.records) == (True, False)


def test_the_place_moves_on_while_nothing_is_recorded(recorder, clock):
    recorder.step()
    before = RecorderState.objects.get()
    publish(1)
    clock.now += 2
    recorder.step()
    after = RecorderState.objects.get()
    assert after.renewed_at > before.renewed_at
    assert after.position["offsets"]["system"] == before.position["offsets"]["system"] + 1


# --- faults ---


def test_a_database_that_fails_costs_nothing(recorder, monkeypatch):
    run = runs.start("soak")
    publish(1)
    recorder.step()
    publish(2)

    def fail(*_, **__):
        raise OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(MetricChunk.objects, "bulk_create", fail)
        with pytest.raises(OperationalError):
            recorder.step()
    publish(3)
    recorder.step()
    assert recorded(run) == [1, 2, 3]


def test_the_history_is_told_again_which_runs_are_active(recorder):
    run = runs.start("soak")
    asyncio.run(open_history(get_settings()).set_active_runs([]))
    recorder.step()
    assert active() == [run.slug]
    TestRun.objects.update(status="completed")
    recorder.step()
    assert active() == []


def test_what_the_history_had_dropped_is_noted(recorder, settings):
    settings.METRICS_STREAM = {"HISTORY_METRICS": 10}
    bounded = Recorder(get_settings(), name="bounded")
    bounded.open()
    run = runs.start("soak")
    publish(0)
    bounded.step()
    for number in range(1, 31):
        publish(number)
    bounded.step()
    bounded.close()
    assert recorded(run) == [0, *range(21, 31)]
    [hole] = TestRun.objects.get().lost
    assert (hole["metric_type"], hole["count"], hole["reason"]) == ("system", 20, "history")


def test_a_beginning_that_was_dropped_before_anybody_recorded_is_noted(settings):
    settings.METRICS_STREAM = {"HISTORY_METRICS": 10}
    late = Recorder(get_settings(), name="late")
    late.open()
    place = asyncio.run(open_history(get_settings()).heads(["system"]))
    RecorderState.objects.create(pk=1, position={"epoch": place.epoch, "offsets": place.offsets})
    run = runs.start("soak")
    for number in range(30):
        publish(number)
    younger = runs.start("younger")
    publish(30)
    late.step()
    late.close()
    assert recorded(run) == list(range(21, 31))
    [hole] = TestRun.objects.get(pk=run.pk).lost
    assert (hole["metric_type"], hole["count"], hole["reason"]) == ("system", None, "history")
    assert recorded(younger) == [30]
    assert TestRun.objects.get(pk=younger.pk).lost == []


def test_a_run_that_is_deleted_while_it_is_recorded_harms_nothing(recorder):
    run, other = runs.start("soak"), runs.start("other")
    publish(1)
    recorder.step()
    TestRun.objects.filter(pk=run.pk).delete()
    publish(2)
    recorder.step()
    assert recorded(other) == [1, 2]
    assert MetricChunk.objects.exclude(run=other).count() == 0


# --- runs whose program is gone ---


def test_a_run_whose_program_is_gone_has_failed(recorder, clock):
    watched, by_hand = runs.start("watched", watched=True), runs.start("by hand")
    recorder.step()
    clock.now += 59
    recorder.step()
    assert TestRun.objects.get(pk=watched.pk).status == "running"
    clock.now += 1
    recorder.step()
    run = TestRun.objects.get(pk=watched.pk)
    assert (run.status, run.ended_at) == ("failed", run.alive_at)
    assert f"was heard of last at {run.alive_at:%H:%M:%S} UTC" in run.notes
    assert active() == [by_hand.slug]
    assert run.recording_ended_at is not None


def test_a_program_that_is_heard_of_keeps_its_run(recorder, clock):
    run = runs.start("watched", watched=True)
    for _ in range(4):
        recorder.step()
        clock.now += 50
        assert runs.keep_alive(run)
    assert TestRun.objects.get().status == "running"


def test_silence_while_the_database_was_away_is_held_against_nobody(recorder, clock, monkeypatch):
    runs.start("watched", watched=True)
    recorder.step()

    def fail():
        raise OperationalError("the database is away")

    with monkeypatch.context() as broken:
        broken.setattr(runs, "active", fail)
        with pytest.raises(OperationalError):
            recorder.step()
    clock.now += 100
    recorder.step()
    assert TestRun.objects.get().status == "running"


# --- how far behind ---


def lag():
    return asyncio.run(lag_seconds(open_history(get_settings())))


def test_the_lag_is_how_long_the_first_metric_has_waited(recorder):
    assert lag() is None
    recorder.step()
    run = runs.start("soak")
    assert lag() == 0.0
    publish(1)
    assert 0 < lag() < 5
    recorder.step()
    assert lag() == 0.0
    runs.stop(run)
    recorder.step()
    assert lag() is None


# --- the thread of a server process ---


def test_the_thread_records_and_a_stop_records_the_rest_and_leaves_the_work_to_others(monkeypatch, make_recorder):
    run = runs.start("soak")
    publish(1)
    monkeypatch.setattr(recorder_module, "STEP_SECONDS", 0.02)
    start_recorder("here")
    start_recorder("here")
    try:
        wait_until(lambda: the_recorder().metrics_read == 1, 10)
        monkeypatch.setattr(recorder_module, "STEP_SECONDS", 60.0)
        publish(2)
    finally:
        began = time.monotonic()
        stop_recorder()
    assert time.monotonic() - began < 2
    assert the_recorder() is None
    assert recorded(run) == [1, 2]
    other = make_recorder("other")
    other.step()
    assert other.records


def test_an_outage_is_one_line_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(recorder_module, "STEP_SECONDS", 0.01)
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", (0.01, 0.02))
    failures = []

    def fail(recorder):
        failures.append(recorder)
        raise OperationalError("server closed the connection unexpectedly\n\tThis probably means")

    with monkeypatch.context() as broken:
        broken.setattr(Recorder, "_step", fail)
        start_recorder("here")
        try:
            wait_until(lambda: len(failures) > 3, 10)
            broken.undo()
            wait_until(lambda: "recorded again" in caplog.text, 10)
        finally:
            stop_recorder()
    text = "test runs cannot be recorded at the moment: server closed the connection unexpectedly; trying again"
    assert caplog.text.count("cannot be recorded") == caplog.text.count(text) == 1
