"""What `manage.py prune_history` deletes, and what it leaves alone."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from metrics_stream.conf import parse_settings
from metrics_stream.models import MetricChunk, SeriesGroup, TestRun, TierChunk
from metrics_stream.runs import reader, retention
from metrics_stream.runs import series as run_series
from metrics_stream.runs.tiers import TIERS, WIDE
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db

ALL = {"metrics", *TIERS}
COARSE = {60, *WIDE}


def recorded_run(slug, *, days_ago, **columns):
    """Return a run that was recorded, and ended so many days ago."""
    run, recording = start_run(slug), Recording(slug)
    recording.record(*[metric(at) for at in range(200)])
    recording.writer.finish(run.pk)
    ended_at = timezone.now() - timedelta(days=days_ago)
    TestRun.objects.filter(pk=run.pk).update(**{"status": "completed", "ended_at": ended_at} | columns)
    return TestRun.objects.get(pk=run.pk)


def left(run):
    """Return what is stored of a run: `metrics`, and the seconds of its tiers."""
    tiers = set(TierChunk.objects.filter(run=run).values_list("bucket_seconds", flat=True))
    return tiers | ({"metrics"} if MetricChunk.objects.filter(run=run).exists() else set())


def prune(**options):
    output = StringIO()
    call_command("prune_history", stdout=output, **options)
    return output.getvalue().splitlines()


def days(**kept):
    """Return METRICS_STREAM that keeps some data for so many days, and all other data for ever."""
    return {f"RECORD_{name}_DAYS": kept.get(f"of_{name.lower()}", 0) for name in ("RAW", "1S", "10S", "60S")}


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({}, ALL),
        ({"of_raw": 10}, ALL - {"metrics"}),
        ({"of_raw": 10, "of_1s": 10}, {10, *COARSE}),
        ({"of_10s": 10}, {"metrics", 1, *COARSE}),
        ({"of_60s": 10}, {"metrics", 1, 10}),
        ({"of_raw": 12, "of_1s": 11.5, "of_10s": 10.9}, {"metrics", 1, *COARSE}),
    ],
)
def test_each_tier_is_kept_for_days_of_its_own(kept, expected, settings):
    settings.METRICS_STREAM = days(**kept)
    run = recorded_run("soak", days_ago=11)
    prune()
    assert left(run) == expected
    assert bool(run_series.series(run)) is bool(expected - {"metrics"})


def test_defaults_keep_the_minutes_for_ever():
    run = recorded_run("soak", days_ago=10_000)
    young = recorded_run("young", days_ago=29)
    prune()
    assert left(run) == COARSE
    assert left(young) == ALL
    [line] = run_series.summary(run)
    assert (line.count, line.min, line.max) == (200, 0, 199)


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "running"},
        {"status": "paused"},
        {"status": "not_started"},
        {"ended_at": None},
        {"recording_ended_at": None},
    ],
)
def test_run_that_may_still_grow_is_left_alone(columns, settings):
    settings.METRICS_STREAM = days(of_raw=1, of_1s=1, of_10s=1, of_60s=1)
    run = recorded_run("soak", days_ago=11, **columns)
    assert prune() == ["nothing is older than the settings allow"]
    assert left(run) == ALL


def test_it_says_what_it_deletes_and_a_dry_run_only_says_so(settings):
    settings.METRICS_STREAM = days(of_raw=10, of_1s=10)
    run = recorded_run("soak", days_ago=11)
    assert prune(dry_run=True) == [
        "soak: would delete metrics, 0.0 MB",
        "soak: would delete buckets of 1 s, 0.0 MB",
        "would delete 0.0 MB in total",
    ]
    assert left(run) == ALL
    assert prune() == [
        "soak: deleted metrics, 0.0 MB",
        "soak: deleted buckets of 1 s, 0.0 MB",
        "deleted 0.0 MB in total",
    ]
    assert prune() == ["nothing is older than the settings allow"]


def test_bytes_are_those_that_were_stored():
    run = recorded_run("soak", days_ago=40)
    payloads = MetricChunk.objects.filter(run=run).values_list("payload", flat=True)
    found = list(retention.prune(parse_settings({}), now=timezone.now(), dry_run=True))
    assert [(one.run, one.what) for one in found] == [(run, "metrics"), (run, "buckets of 1 s")]
    assert (found[0].rows, found[0].payload_bytes) == (4, sum(map(len, payloads)))


def test_run_itself_stays_when_nothing_is_left_of_its_metrics(settings):
    settings.METRICS_STREAM = days(of_raw=10, of_1s=10, of_10s=10, of_60s=10)
    run = recorded_run("soak", days_ago=11)
    prune()
    assert left(run) == set()
    assert not SeriesGroup.objects.exists()
    run.refresh_from_db()
    assert run.metrics_recorded == 200
    assert (run_series.series(run), run_series.summary(run), list(reader.rows(run))) == ([], [], [])
