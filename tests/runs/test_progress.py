"""What is missing from a run is a number as soon as the producers have said what they published."""

import pytest

from metrics_stream.history.accepted import LostItem, LostReport
from metrics_stream.models import RecorderState, TestRun
from metrics_stream.runs import progress, writer
from metrics_stream.telemetry import Telemetry
from tests.support.recording import HOLDER, START, Recording, metric, start_run

pytestmark = pytest.mark.django_db


def report(*counts, epoch="e1", reporter="one", run="soak", metric_type="system", forgotten=None):
    runs = None if run is None else (run,)
    items = [LostItem(metric_type, "web-1", runs, START + 5, list(counts))] if counts else []
    return LostReport(reporter, epoch, items, forgotten or {})


def lost(run):
    return [(entry["metric_type"], entry["count"], entry["reason"]) for entry in TestRun.objects.get(pk=run.pk).lost]


def count(recording, *reports):
    return recording.writer.count_lost(reports, holder=HOLDER)


@pytest.fixture
def recording():
    """A recording of two metrics, after which the history began again."""
    made = Recording("soak")
    start_run()
    made.record(metric(1), metric(2), metric(3, metric_type="hero"))
    made.epoch, made.offsets = "e2", {}
    made.record(metric(4))
    return made


def test_the_metrics_after_those_recorded_are_counted_and_the_unknown_is_known(recording):
    run = TestRun.objects.get()
    assert lost(run) == [("hero", None, "epoch"), ("system", None, "epoch")]
    assert count(recording, report((0, 1), (1, 1), (2, 4), (6, 1))) != []
    assert lost(run) == [("system", 5, "epoch")]
    recording.record(metric(5))
    assert lost(run) == [("system", 5, "epoch")]


def test_the_telemetry_counts_what_is_recorded_and_what_is_lost_once(recording, monkeypatch):
    telemetry = Telemetry()
    monkeypatch.setattr(writer, "of_process", telemetry)
    count(recording, report((2, 4)))
    count(recording, report((2, 4), (6, 1)))
    recording.publish(metric(5))
    recording.record(metric(6), metric(7))
    assert (telemetry.run_metrics_recorded, telemetry.run_metrics_lost) == (2, {"epoch": 5, "history": 1})


def test_reports_that_are_read_again_count_once_and_those_of_others_are_added(recording):
    run = TestRun.objects.get()
    count(recording, report((2, 4)))
    recording.new_writer()
    count(recording, report((2, 4), (6, 1)), report((7, 2), reporter="other"))
    assert lost(run) == [("system", 7, "epoch")]


def test_a_report_of_metrics_that_are_all_recorded_leaves_nothing_lost(recording):
    count(recording, report((0, 1), (1, 1)))
    assert lost(TestRun.objects.get()) == []


def test_an_epoch_that_the_recorder_never_saw_is_lost_completely(recording):
    recording.epoch, recording.offsets = "e4", {}
    recording.record(metric(6))
    count(recording, report((0, 3), epoch="e3"), report((2, 1)), report((1, 1), epoch="e2"))
    assert lost(TestRun.objects.get()) == [("system", 3, "epoch"), ("system", 1, "epoch"), ("system", 1, "epoch")]


def test_a_report_waits_while_the_run_is_recorded_from_its_epoch(recording):
    waiting = report((1, 1), epoch="e2")
    assert count(recording, waiting, report((2, 1))) == [report((2, 1))]
    assert lost(TestRun.objects.get()) == [("system", 1, "epoch")]


def test_a_run_whose_recording_has_ended_gets_its_number_too(recording):
    run = recording.end(TestRun.objects.get())
    count(recording, report((2, 4)), report((0, 1), epoch="e2", reporter="other"))
    assert lost(run) == [("system", 4, "epoch")]


def test_without_known_runs_the_time_and_the_source_decide(recording):
    run = TestRun.objects.get()
    elsewhere = start_run("elsewhere", sources=["web-2"])
    over = start_run("over", ended_at=run.started_at)
    count(recording, report((2, 4), run=None))
    assert [lost(one) for one in (run, elsewhere, over)] == [[("system", 4, "epoch")], [], []]


def test_a_reporter_that_has_forgotten_some_knows_only_the_least(recording):
    count(recording, report((5, 1), forgotten={"system": 5}))
    assert lost(TestRun.objects.get()) == [("system", 1, "epoch"), ("system", None, "epoch")]


def test_a_report_on_no_known_run_is_dropped(recording):
    assert count(recording, report((2, 4), run="gone")) == [report((2, 4), run="gone")]


def test_of_an_epoch_too_old_to_be_remembered_nothing_is_counted(recording, monkeypatch):
    monkeypatch.setattr(progress, "MAX_PAST_EPOCHS", 2)
    for number in range(3, 6):
        recording.epoch, recording.offsets = f"e{number}", {}
        recording.record(metric(number))
    [run] = TestRun.objects.all()
    assert sorted(run.recorded_until["past"]) == ["e3", "e4"]
    before = lost(run)
    assert count(recording, report((0, 9))) == [report((0, 9))]
    assert lost(run) == before


def test_only_the_process_that_records_counts(recording):
    RecorderState.objects.update(holder="other")
    with pytest.raises(Exception, match="no longer records"):
        count(recording, report((2, 4)))
