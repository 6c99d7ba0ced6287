"""`POST /api/runs/<slug>/metrics/`: the results of a test that is over, recorded with their own times."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from metrics_stream.models import TestRun
from metrics_stream.runs import reader
from metrics_stream.runs import series as run_series
from metrics_stream.runtime.runtime import get_runtime
from tests.support.api import RUNS_PATH, Program, errors, item, outcome, published

pytestmark = pytest.mark.django_db(transaction=True)

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
SPAN = {"started_at": BEGIN.isoformat(), "ended_at": (BEGIN + timedelta(hours=1)).isoformat()}


def at(second, **changes):
    return item(second, timestamp=(BEGIN + timedelta(seconds=second)).isoformat(), **changes)


@pytest.fixture
async def program(runtime, async_client):
    """A program that may publish and start test runs."""
    made = Program(async_client, "publish", "runs")
    await made.token()
    return made


async def record(program, slug, content, **options):
    return await program.post(f"{RUNS_PATH}{slug}/metrics/", content, **options)


def recorded(run):
    return [json.loads(metric.body) for metric in reader.rows(run)]


async def test_results_of_a_test_that_ended_are_its_recording(program):
    live = len(await published())
    slug = await program.start(**SPAN, sources=["load"])
    for begin in range(0, 3600, 600):
        response = await record(program, slug, [at(second) for second in range(begin, begin + 600, 10)])
        assert (response.status_code, response.json()) == (202, {"accepted": 60})
    run = await TestRun.objects.aget()
    assert (run.first_at, run.last_at) == (BEGIN, BEGIN + timedelta(seconds=3590))
    assert (run.ended_at - run.started_at, run.metrics_recorded) == (timedelta(hours=1), 360)
    [series] = [one async for one in _series(run)]
    assert len(series.buckets) >= 60
    assert (min(series.min), max(series.max)) == (0.0, 3590.0)
    assert len(await published()) == live


async def _series(run):
    from asgiref.sync import sync_to_async

    for one in await sync_to_async(run_series.series)(run, max_points=60):
        yield one


async def test_ndjson_is_taken_too_and_a_repeated_request_is_recorded_once(program):
    slug = await program.start(**SPAN)
    body = b"\n".join(json.dumps(at(second)).encode() for second in range(3))
    for answer in ({"accepted": 3}, {"accepted": 3, "repeated": True}):
        response = await record(program, slug, body, kind="application/x-ndjson", idempotency_key="part 1")
        assert (response.status_code, response.json()) == (202, answer)
        get_runtime().owned.clear()  # Like a process that has not seen the key.
    assert (await TestRun.objects.aget()).metrics_recorded == 3


async def test_a_metric_that_does_not_fit_is_named_and_the_others_are_recorded(program):
    slug = await program.start(**SPAN, sources=["load"])
    content = [
        at(1),
        at(-61),
        item(2, timestamp=None),
        {key: value for key, value in item(3).items() if key != "timestamp"},
        at(4, source="another"),
        at(5, metric_type="sytem"),
        at(3661),
    ]
    response = await record(program, slug, content)
    assert (response.status_code, response.json()["accepted"]) == (207, 1)
    assert errors(response) == [
        (1, "timestamp", "invalid_timestamp"),
        (2, "timestamp", "invalid_timestamp"),
        (3, "timestamp", "invalid_timestamp"),
        (4, "source", "unknown_source"),
        (5, "metric_type", "unknown_metric_type"),
        (6, "timestamp", "invalid_timestamp"),
    ]
    messages = [error["message"] for error in response.json()["errors"]]
    assert "allowed: within the run, 2026-01-31T12:00:00.000000Z to 2026-01-31T13:00:00.000000Z" in messages[0]
    assert messages[1] == "`timestamp` is missing; the metrics of a test that is over have their own times"
    assert messages[3] == "source 'another' is not one of the run; allowed: load"
    response = await record(program, slug, [at(-100)])
    assert (response.status_code, response.json()["accepted"]) == (422, 0)


async def test_only_a_past_run_of_this_token_takes_metrics(program):
    live = await program.start()
    response = await record(program, live, [at(1)])
    assert outcome(response) == (422, "invalid_run")
    assert "allowed: a run that was started with started_at and ended_at" in response.json()["message"]
    slug = await program.start(**SPAN)
    await program.token(name="another")
    assert outcome(await record(program, slug, [at(1)])) == (404, "unknown_run")
    assert outcome(await record(program, "nothing here", [at(1)])) == (404, "unknown_run")
    await program.token(name="runs only", scopes=["runs"])
    assert outcome(await record(program, slug, [at(1)])) == (403, "forbidden")


async def test_the_limits_of_publishing_hold(program, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_METRICS": 2}
    slug = await program.start(**SPAN)
    assert outcome(await record(program, slug, [at(1), at(2), at(3)])) == (413, "too_large")
    response = await record(program, slug, [at(1), at(2, metric_type="stream")])
    assert errors(response) == [(1, "metric_type", "unknown_metric_type")]
    assert outcome(await record(program, slug, b"{")) == (400, "not_a_document")
    assert (await TestRun.objects.aget()).metrics_recorded == 1


async def test_past_runs_count_among_the_runs_of_an_hour(program, settings):
    settings.METRICS_STREAM = {"INGEST_RUNS_PER_HOUR": 2}
    for _ in range(2):
        await program.start(**SPAN)
    assert outcome(await program.post(RUNS_PATH, {"name": "soak", **SPAN})) == (429, "too_many_requests")
