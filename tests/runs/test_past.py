"""Runs of tests that were over when they were started: their own times, recorded at once, never live."""

from datetime import UTC, datetime, timedelta

import pytest

from metrics_stream.conf import get_settings
from metrics_stream.core.errors import RunError, RunOverError
from metrics_stream.core.run_values import Phase
from metrics_stream.models import MetricChunk, TestRun, TierChunk
from metrics_stream.runs import lifecycle, past, phases, reader, retention
from metrics_stream.runs import series as run_series
from metrics_stream.runs.liveness import Liveness
from tests.support.recording import START, check_series, metric, noise, recorded

pytestmark = pytest.mark.django_db(transaction=True)

# START is in the future of the machine; these runs were in its past.
BEGIN = datetime.fromtimestamp(1_700_000_040, UTC)
SHIFT = BEGIN.timestamp() - START


@pytest.fixture
def run():
    return lifecycle.start("soak", started_at=BEGIN, ended_at=BEGIN + timedelta(minutes=10))


def at(second, value=None, **options):
    return metric(second + SHIFT, {"throughput_tps": float(second if value is None else value)}, **options)


def test_a_past_run_has_its_own_start_and_end_and_is_never_live(run):
    stored = TestRun.objects.get()
    assert (stored.status, stored.is_past, stored.alive_at) == ("completed", True, None)
    assert (stored.started_at, stored.ended_at) == (BEGIN, BEGIN + timedelta(minutes=10))
    assert stored.slug.startswith("soak-20231114-221400-")
    assert lifecycle.active() == ()
    assert lifecycle.current() == []


def test_its_metrics_are_recorded_with_their_own_times(run):
    metrics = [at(second) for second in range(0, 600, 2)]
    assert past.record(run, reversed(metrics)) is True
    stored = TestRun.objects.get()
    assert recorded(stored) == metrics
    assert (stored.metrics_recorded, stored.lost) == (300, [])
    assert (stored.first_at, stored.last_at) == (BEGIN, BEGIN + timedelta(seconds=598))
    assert stored.recording_ended_at > run.recording_ended_at
    check_series(stored, metrics, max_points=100)
    [row] = run_series.summary(stored)
    assert (row.count, row.min, row.max) == (300, 0.0, 598.0)
    page = reader.metrics(stored, since=BEGIN.timestamp() + 300)
    assert [item.published_at for item in page.items][:2] == [BEGIN.timestamp() + 300, BEGIN.timestamp() + 302]


def test_several_calls_make_one_recording(run):
    one = [at(second, source="gen-a") for second in range(600)]
    two = [at(second, 2 * second, source="gen-b") for second in range(600)]
    for begin in range(0, 600, 250):
        past.record(run, one[begin : begin + 250])
    past.record(run, two)
    stored = TestRun.objects.get()
    assert recorded(stored) == one + two
    check_series(stored, one + two, max_points=60)
    assert not TierChunk.objects.filter(is_open=True).exists()
    # Numbers and times rise together, or readers would miss some.
    chunks = MetricChunk.objects.order_by("first_number").values_list("first_at", "last_at")
    times = [time for chunk in chunks for time in chunk]
    assert times == sorted(times)


def test_a_call_with_a_key_is_recorded_once(run):
    assert past.record(run, [at(1)], key="a") is True
    assert past.record(run, [at(1)], key="a") is False
    assert past.record(run, [at(2)], key="b") is True
    assert TestRun.objects.get().metrics_recorded == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (at(-61), "timestamp is 2023-11-14T22:12:59.000000Z; allowed: within the run, 2023-11-14T22:14:00.000000Z to"),
        (at(661), "allowed: within the run"),
        (at(1, source="other"), "source 'other' is not one of the run; allowed: gen-a, gen-b"),
    ],
)
def test_a_metric_that_does_not_fit_refuses_the_whole_call(wrong, message):
    run = lifecycle.start("soak", sources=["gen-a", "gen-b"], started_at=BEGIN, ended_at=BEGIN + timedelta(minutes=10))
    with pytest.raises(RunError, match=message):
        past.record(run, [at(1, source="gen-a"), wrong])
    assert TestRun.objects.get().metrics_recorded == 0
    past.record(run, [at(-59, source="gen-a"), at(659, source="gen-b")])


def test_a_run_that_is_recorded_live_takes_no_past_metrics():
    run = lifecycle.start("soak")
    with pytest.raises(RunError, match="records what is published live; allowed: a run that was started with"):
        past.record(run, [at(1)])
    TestRun.objects.all().delete()
    with pytest.raises(RunOverError, match="no longer exists"):
        past.record(run, [at(1)])


def test_its_outcome_may_be_said_later_and_its_end_stays(run):
    ended = lifecycle.stop(run, "failed", note="too slow")
    assert (ended.status, ended.notes, ended.ended_at) == ("failed", "too slow", run.ended_at)
    with pytest.raises(RunError, match="it cannot become paused"):
        lifecycle.pause(run)


def test_its_phases_are_given_with_it():
    half = BEGIN + timedelta(minutes=5)
    given = [
        {"name": "ramp", "start": BEGIN, "end": half},
        {"name": "steady", "start": half.isoformat(), "end": None},
    ]
    run = lifecycle.start("soak", started_at=BEGIN, ended_at=BEGIN + timedelta(minutes=10), phases=given)
    assert phases.of(run) == [Phase("ramp", BEGIN, half), Phase("steady", half, run.ended_at)]
    with pytest.raises(RunError, match="phases is given without started_at and ended_at"):
        lifecycle.start("live", phases=given)
    assert TestRun.objects.count() == 1


def test_the_recorder_leaves_it_alone(serving, recorder, run):
    recorder.step()
    past.record(run, [at(1)])
    recorder.step()
    assert TestRun.objects.get().metrics_recorded == 1
    assert Liveness(lambda: 0.0).watch(TestRun.objects.all()) == []


def test_what_is_recorded_of_it_is_kept_from_then_on(run):
    past.record(run, [at(second) for second in range(60)])
    recorded_at = TestRun.objects.get().recording_ended_at
    keep = get_settings()
    assert list(retention.prune(keep, now=recorded_at + timedelta(days=29), dry_run=True)) == []
    assert list(retention.prune(keep, now=recorded_at + timedelta(days=31), dry_run=True)) != []


def test_many_series_at_once_are_right(run):
    metrics = [
        metric(item.timestamp - START + SHIFT, {"n": number}, source=item.source)
        for number, item in enumerate(noise(120))
    ]
    past.record(run, metrics[::2])
    past.record(run, metrics[1::2])
    check_series(TestRun.objects.get(), metrics[::2] + metrics[1::2])
