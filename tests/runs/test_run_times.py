"""A run of sources whose clocks are off: its time is that of the run, and all of them are in it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from metrics_stream.models import TestRun
from metrics_stream.runs import reader
from metrics_stream.runs import series as run_series
from metrics_stream.runs.span import recorded_span
from tests.support.recording import START, Recording, metric, start_run

pytestmark = pytest.mark.django_db


def record(seconds, **clocks):
    """Return a run of so many seconds, in which each source sends once a second with its clock ahead by so much."""
    run, recording = start_run(), Recording("soak")
    batches = []
    for second in range(seconds):
        recording.now = START + second
        for source, ahead in clocks.items():
            off = ahead(second) if callable(ahead) else ahead
            batches.append(recording.publish(metric(second + off, {"n": second}, source=source), at=second))
    recording.write(batches)
    TestRun.objects.filter(pk=run.pk).update(status="completed", ended_at=run.started_at + timedelta(seconds=seconds))
    return recording.end(run)


def instant(seconds):
    return datetime.fromtimestamp(START + seconds, UTC)


@pytest.mark.parametrize(
    "off",
    [1800.0, 86_400.0, -7200.0, -86_400.0 * 365, lambda second: 1800.0 if second > 6 else 0.0],
    ids=["30 min ahead", "a day ahead", "2 h behind", "a year behind", "jumps ahead"],
)
def test_a_source_with_a_wrong_clock_neither_stretches_a_run_nor_is_missing_from_it(off):
    run = record(13, right=0.0, wrong=off)
    assert (run.first_at, run.last_at) == (instant(0), instant(12))
    found = {one.source: one for one in run_series.series(run)}
    assert found["right"].buckets == found["wrong"].buckets == list(range(13))
    assert found["right"].last == found["wrong"].last == list(range(13))
    [[slug, source, _]] = run.source_clocks
    assert (slug, source) == ("system", "wrong")
    for item in reader.rows(run):
        assert START <= item.timestamp < START + 13


def test_a_clock_that_jumps_back_within_a_long_run_is_put_right():
    run = record(200, wrong=lambda second: -150.0 if second > 160 else 0.0)
    assert (run.first_at, run.last_at) == (instant(0), instant(199))
    [one] = run_series.series(run)
    # Until it is known, metrics may also be late ones.
    assert one.buckets[-20:] == list(range(180, 200))
    assert run.source_clocks == [["system", "wrong", -150.0]]


def test_the_recorded_metrics_say_what_was_corrected():
    run = record(3, wrong=1800.0)
    bodies = [msgspec.json.decode(item.body) for item in reader.rows(run)]
    assert [body["clock_ahead_seconds"] for body in bodies] == [1800.0] * 3
    assert bodies[0]["timestamp"] == "2027-01-15T08:30:00.000000Z"


@pytest.mark.parametrize("ahead", [59.0, -59.0])
def test_small_differences_of_clocks_are_left_alone(ahead):
    run = record(13, wrong=ahead)
    assert (run.first_at, run.last_at) == (instant(ahead), instant(12 + ahead))
    assert run.source_clocks == []


def test_a_test_that_began_before_the_server_knew_of_it_has_its_own_times():
    run, recording = start_run(), Recording("soak")
    TestRun.objects.filter(pk=run.pk).update(created_at=instant(7200), ended_at=instant(3600))
    for begin in range(0, 3600, 60):
        at = 7200 + begin // 60
        recording.now = START + at
        items = [metric(second, {"n": second}) for second in range(begin, begin + 60)]
        recording.write([recording.publish(*items, at=at)])
    run = recording.end(run)
    assert (run.first_at, run.last_at, run.source_clocks) == (instant(0), instant(3599), [])


def test_runs_of_earlier_versions_are_cut_to_their_time():
    run = record(13, right=0.0)
    TestRun.objects.filter(pk=run.pk).update(first_at=instant(-7200), last_at=instant(1812))
    assert recorded_span(TestRun.objects.get(pk=run.pk)) == (START - 60, START + 13 + 60)


def test_the_clock_of_the_history_is_not_that_of_runs():
    run, recording = start_run(), Recording("soak")
    for second in range(5):
        batch = recording.publish(metric(second, {"n": second}), at=second + 1800)
        recording.writer.write([batch], recording.position, holder="web-1:1:aaaa", history_ahead=1800.0)
    run = recording.end(run)
    assert (run.first_at, run.last_at, run.source_clocks) == (instant(0), instant(4), [])
    assert reader.metrics(run, since=START + 3).items[0].published_at == START + 3
