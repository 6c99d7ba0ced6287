"""The recorder, step by step: the metrics of a run are in the database, once and in order, whatever happens."""

import asyncio
import re
import threading
import time

import pytest
from django.db import OperationalError

from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BusError
from metrics_stream.history import open_history
from metrics_stream.models import MetricChunk, RecorderState, TestRun
from metrics_stream.runs import lifecycle
from metrics_stream.runs import recorder as recorder_module
from metrics_stream.runs.recorder import Recorder, lag_seconds, start_recorder, stop_recorder
from metrics_stream.runs.writer import Writer
from tests.support.recording import active_slugs, publish_numbers, recorded_numbers
from tests.support.stack import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("serving")]


def test_what_is_published_during_a_run_is_recorded(recorder):
    publish_numbers(1)
    recorder.step()
    run = lifecycle.start("soak")
    publish_numbers(2, 3)
    recorder.step()
    assert recorded_numbers(run) == [2, 3]
    publish_numbers(4)
    publish_numbers(5, metric_type="hero")
    recorder.step()
    recorder.step()
    assert recorded_numbers(run) == [2, 3, 4, 5]


def test_a_run_that_ended_is_recorded_up_to_its_end(recorder):
    run = lifecycle.start("soak")
    publish_numbers(1)
    recorder.step()
    publish_numbers(2)
    lifecycle.stop(run)
    publish_numbers(3)
    assert TestRun.objects.get().recording_ended_at is None
    recorder.step()
    assert recorded_numbers(run) == [1, 2]
    assert TestRun.objects.get().recording_ended_at is not None
    publish_numbers(4)
    recorder.step()
    assert recorded_numbers(run) == [1, 2]


def test_a_run_without_a_recorder_is_recorded_later(recorder):
    publish_numbers(0)
    run = lifecycle.start("soak")
    publish_numbers(1, 2)
    lifecycle.stop(run)
    publish_numbers(3)
    recorder.step()
    assert recorded_numbers(run) == [1, 2]
    assert TestRun.objects.get().lost == []


def test_overlapping_runs_get_the_metrics_of_their_sources(recorder):
    everything, one = lifecycle.start("everything"), lifecycle.start("one", sources=["a"])
    publish_numbers(1, source="a")
    publish_numbers(2, source="b")
    recorder.step()
    assert (recorded_numbers(everything), recorded_numbers(one)) == ([1, 2], [1])


def test_metrics_during_a_pause_are_neither_recorded_nor_lost(recorder):
    run = lifecycle.start("soak")
    publish_numbers(1)
    recorder.step()
    lifecycle.pause(run)
    publish_numbers(2)
    recorder.step()
    lifecycle.resume(run)
    publish_numbers(3)
    recorder.step()
    assert recorded_numbers(run) == [1, 3]
    assert TestRun.objects.get().lost == []


def test_more_than_a_page_is_recorded_in_one_step(recorder):
    run = lifecycle.start("soak")
    for first in range(0, 12_000, 400):
        publish_numbers(*range(first, first + 400))
    recorder.step()
    assert recorded_numbers(run) == list(range(12_000))


def test_the_position_advances_while_nothing_is_recorded(recorder, clock):
    recorder.step()
    before = RecorderState.objects.get()
    publish_numbers(1)
    clock.now += 2
    recorder.step()
    after = RecorderState.objects.get()
    assert after.renewed_at > before.renewed_at
    assert after.position["offsets"]["system"] == before.position["offsets"]["system"] + 1


def test_a_database_error_loses_nothing(recorder, monkeypatch):
    run = lifecycle.start("soak")
    publish_numbers(1)
    recorder.step()
    publish_numbers(2)

    def fail(*_, **__):
        raise OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(MetricChunk.objects, "bulk_create", fail)
        with pytest.raises(OperationalError):
            recorder.step()
    publish_numbers(3)
    recorder.step()
    assert recorded_numbers(run) == [1, 2, 3]


def test_wrong_active_runs_of_the_history_are_corrected(recorder):
    run = lifecycle.start("soak")
    asyncio.run(open_history(get_settings()).set_active_runs([]))
    recorder.step()
    assert active_slugs() == [run.slug]
    TestRun.objects.update(status="completed")
    recorder.step()
    assert active_slugs() == []


def test_metrics_of_a_history_that_does_not_know_the_runs_belong_to_those_of_the_database(recorder):
    run, elsewhere = lifecycle.start("soak"), lifecycle.start("elsewhere", sources=["b"])
    over, paused = lifecycle.stop(lifecycle.start("over")), lifecycle.pause(lifecycle.start("paused"))
    publish_numbers(1)
    recorder.step()
    # As a Redis that is restarted empty; nobody has told it the active runs yet.
    open_history(get_settings()).forget()
    publish_numbers(2)
    publish_numbers(3, source="b")
    recorder.step()
    assert set(active_slugs()) == {run.slug, elsewhere.slug}
    publish_numbers(4)
    later = lifecycle.start("later")
    recorder.step()
    recorded = {one.name: recorded_numbers(one) for one in (run, elsewhere, over, paused, later)}
    assert recorded == {"soak": [1, 2, 3, 4], "elsewhere": [3], "over": [], "paused": [], "later": []}


def test_metrics_that_the_history_has_dropped_are_stored_as_lost(recorder, settings):
    settings.METRICS_STREAM = {"HISTORY_METRICS": 10}
    bounded = Recorder(get_settings(), name="bounded")
    bounded.open()
    run = lifecycle.start("soak")
    publish_numbers(0)
    bounded.step()
    for number in range(1, 31):
        publish_numbers(number)
    bounded.step()
    bounded.close()
    assert recorded_numbers(run) == [0, *range(21, 31)]
    [hole] = TestRun.objects.get().lost
    assert (hole["metric_type"], hole["count"], hole["reason"]) == ("system", 20, "history")


def test_a_dropped_beginning_of_a_run_is_stored_as_lost(settings):
    settings.METRICS_STREAM = {"HISTORY_METRICS": 10}
    late = Recorder(get_settings(), name="late")
    late.open()
    place = asyncio.run(open_history(get_settings()).heads(["system"]))
    RecorderState.objects.create(pk=1, position={"epoch": place.epoch, "offsets": place.offsets})
    run = lifecycle.start("soak")
    for number in range(30):
        publish_numbers(number)
    younger = lifecycle.start("younger")
    publish_numbers(30)
    late.step()
    late.close()
    assert recorded_numbers(run) == list(range(21, 31))
    [hole] = TestRun.objects.get(pk=run.pk).lost
    assert (hole["metric_type"], hole["count"], hole["reason"]) == ("system", None, "history")
    assert recorded_numbers(younger) == [30]
    assert TestRun.objects.get(pk=younger.pk).lost == []


def test_a_run_that_is_deleted_during_recording_does_not_disturb_others(recorder):
    run, other = lifecycle.start("soak"), lifecycle.start("other")
    publish_numbers(1)
    recorder.step()
    TestRun.objects.filter(pk=run.pk).delete()
    publish_numbers(2)
    recorder.step()
    assert recorded_numbers(other) == [1, 2]
    assert MetricChunk.objects.exclude(run=other).count() == 0


def test_a_run_whose_program_is_silent_has_failed(recorder, clock):
    watched, by_hand = lifecycle.start("watched", watched=True), lifecycle.start("by hand")
    recorder.step()
    clock.now += 59
    recorder.step()
    assert TestRun.objects.get(pk=watched.pk).status == "running"
    clock.now += 1
    recorder.step()
    run = TestRun.objects.get(pk=watched.pk)
    assert (run.status, run.ended_at) == ("failed", run.alive_at)
    assert f"came at {run.alive_at:%H:%M:%S} UTC" in run.notes
    assert active_slugs() == [by_hand.slug]
    assert run.recording_ended_at is not None


def test_a_program_that_reports_keeps_its_run(recorder, clock):
    run = lifecycle.start("watched", watched=True)
    for _ in range(4):
        recorder.step()
        clock.now += 50
        assert lifecycle.keep_alive(run)
    assert TestRun.objects.get().status == "running"


def test_silence_during_an_outage_of_the_database_fails_no_run(recorder, clock, monkeypatch):
    lifecycle.start("watched", watched=True)
    recorder.step()

    def fail():
        raise OperationalError("the database is away")

    with monkeypatch.context() as broken:
        broken.setattr(lifecycle, "active", fail)
        with pytest.raises(OperationalError):
            recorder.step()
    clock.now += 100
    recorder.step()
    assert TestRun.objects.get().status == "running"


def lag():
    return asyncio.run(lag_seconds(open_history(get_settings())))


def test_the_lag_is_the_waiting_time_of_the_oldest_metric(recorder):
    assert lag() is None
    recorder.step()
    run = lifecycle.start("soak")
    assert lag() == 0.0
    publish_numbers(1)
    assert 0 < lag() < 5
    recorder.step()
    assert lag() == 0.0
    lifecycle.stop(run)
    recorder.step()
    assert lag() is None


def test_a_stop_records_the_rest_and_releases_the_lease(monkeypatch, make_recorder):
    written = []
    write = Writer.write

    def write_and_count(writer, batches, *arguments, **options):
        write(writer, batches, *arguments, **options)
        written.extend(metric for batch in batches for metric in batch.metrics)

    monkeypatch.setattr(Writer, "write", write_and_count)
    run = lifecycle.start("soak")
    publish_numbers(1)
    monkeypatch.setattr(recorder_module, "STEP_SECONDS", 0.02)
    start_recorder("here")
    start_recorder("here")
    try:
        wait_until(lambda: len(written) == 1, 10)
        monkeypatch.setattr(recorder_module, "STEP_SECONDS", 60.0)
        publish_numbers(2)
    finally:
        began = time.monotonic()
        stop_recorder()
    assert time.monotonic() - began < 2
    assert "metrics-recorder" not in {thread.name for thread in threading.enumerate()}
    assert recorded_numbers(run) == [1, 2]
    other = make_recorder("other")
    other.step()
    assert other.records


def test_an_outage_is_one_line_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(recorder_module, "STEP_SECONDS", 0.01)
    monkeypatch.setattr(recorder_module, "STEP_RETRY_SECONDS", (0.01, 0.02))
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
            wait_until(lambda: "fault recording ends after" in caplog.text, 10)
        finally:
            stop_recorder()
    begin, end = [
        record.getMessage() for record in caplog.records if record.name == "metrics_stream.observation.faults"
    ]
    assert begin == "fault recording begins: test runs cannot be recorded: server closed the connection unexpectedly"
    assert re.search(r"; attempts failed: \d+$", end)


def test_a_recorder_says_once_that_it_records_however_often_it_fails(recorder, monkeypatch, caplog):
    caplog.set_level("INFO", "metrics_stream")
    with monkeypatch.context() as broken:

        def fail(*_):
            raise BusError("Redis takes no writes")

        broken.setattr(Recorder, "_correct_active_runs", fail)
        for _ in range(3):
            with pytest.raises(BusError):
                recorder.step()
    recorder.step()
    assert caplog.text.count("this process records test runs") == 1
