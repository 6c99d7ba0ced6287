"""What a block says of its run, to either store: test, parameters, phases, and the results of a test that is over."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from metrics_stream.broadcast import Broadcaster, RunError, http_runs, run_block, stress_test_run
from metrics_stream.broadcast.run_block import RunBlock
from metrics_stream.core.errors import MetricError, RunUnavailableError
from metrics_stream.models import TestRun
from metrics_stream.runs import phases
from tests.support.programs import TOKEN, Answers, answer, messages
from tests.support.recording import recorded
from tests.support.run_stores import RUN, Store
from tests.support.stack import wait_until

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
SPAN = {"started_at": BEGIN, "ended_at": BEGIN + timedelta(minutes=10)}
ITEMS = [
    {"metric_type": "system", "data": {"n": n}, "timestamp": BEGIN + timedelta(seconds=n), "source": "load"}
    for n in range(3)
]


class Marks(Store):
    """A run store that takes phases; each call raises the next of the given errors, or nothing for None."""

    def __init__(self, *, marks=(), **answers):
        super().__init__(**answers)
        self.alive_seconds = 60.0
        self.marks = list(marks)

    def mark_phase(self, name, seconds_ago):
        self.calls.append(("phase", name))
        self.seconds_ago = seconds_ago
        if self.marks and (answer := self.marks.pop(0)):
            raise answer


@pytest.fixture
def log(log, monkeypatch):
    monkeypatch.setattr(run_block, "RUN_RETRY_SECONDS", 0.001)
    return log


def in_block(store, body):
    with RunBlock(store, flush=lambda: None) as run:
        body(run)
    return store.calls


# --- phases ---


def test_phases_are_stored_at_once_and_in_order(log):
    store = Marks()

    def body(run):
        assert run.slug == RUN.slug
        run.phase("ramp")
        wait_until(lambda: store.calls == [("phase", "ramp")], 5)
        run.phase("steady")
        run.end_phase()

    assert in_block(store, body) == [
        *(("phase", name) for name in ("ramp", "steady", None)),
        ("completed", ""),
        "close",
    ]
    assert 0 <= store.seconds_ago < 5
    assert messages(log) == []


def test_a_phase_waits_for_a_store_that_is_away(log):
    away = RunUnavailableError("the server is away")
    store = Marks(marks=[away, away, None])

    def body(run):
        run.phase("ramp")
        wait_until(lambda: store.calls, 5)

    assert in_block(store, body) == [*[("phase", "ramp")] * 3, ("completed", ""), "close"]
    assert messages(log) == ["the test run soak-1 cannot be kept alive: the server is away"]


def test_a_phase_that_is_refused_is_logged_and_the_test_goes_on(log):
    store = Marks(marks=[RunError("100 phases")])

    def body(run):
        run.phase("one more")
        run.phase("steady")

    assert in_block(store, body)[-3:] == [("phase", "steady"), ("completed", ""), "close"]
    assert messages(log) == ["a phase of the test run soak-1 was not stored: 100 phases"]


def test_a_wrong_name_is_an_error_in_the_program(log):
    with RunBlock(Marks(), flush=lambda: None) as run, pytest.raises(RunError, match="the name of a phase is ''"):
        run.phase("")
    with pytest.raises(RunError, match="the block of the test run has ended"):
        run.phase("late")


# --- in the database ---


@pytest.mark.django_db(transaction=True)
def test_a_block_says_what_it_tests():
    with stress_test_run("Soak", test="checkout", parameters={"commit": "3f2a9c1", "users": 50}) as run:
        run.phase("ramp")
        run.phase("steady")
    stored = TestRun.objects.get()
    assert (stored.test, stored.parameters) == ("checkout", {"commit": "3f2a9c1", "users": 50})
    ramp, steady = phases.of(stored)
    assert (ramp.name, steady.name) == ("ramp", "steady")
    assert stored.started_at <= ramp.starts_at <= ramp.ends_at == steady.starts_at <= steady.ends_at == stored.ended_at


@pytest.mark.django_db(transaction=True)
def test_a_block_records_a_test_that_is_over():
    with stress_test_run("soak", sources=["load"], **SPAN) as run:
        assert run.record(ITEMS) == 3
        with pytest.raises(RunError, match="give its phases as the argument `phases`"):
            run.phase("ramp")
        with pytest.raises(RunError, match="source 'other' is not one of the run; allowed: load"):
            run.record([{**ITEMS[0], "source": "other"}])
        with pytest.raises(MetricError, match="unknown metric type 'sytem'"):
            run.record([{**ITEMS[0], "metric_type": "sytem"}])
        # Items are those of `broadcast_many`.
        same = {"metric_type": "SYSTEM", "metrics": {"n": 3}, "timestamp": ITEMS[-1]["timestamp"], "source": "load"}
        assert run.record([same]) == 1
        for wrong, words in (
            ({**same, "colour": 1}, "unknown key 'colour'"),
            ({"data": {}}, "`metric_type` is missing"),
        ):
            with pytest.raises(MetricError, match=words):
                run.record([wrong])
    stored = TestRun.objects.get()
    assert (stored.status, stored.ended_at - stored.started_at) == ("completed", timedelta(minutes=10))
    assert [json.loads(metric.body)["data"] for metric in recorded(stored)] == [{"n": n} for n in range(4)]


@pytest.mark.django_db(transaction=True)
async def test_asynchronous_code_records_in_a_thread():
    async with stress_test_run("soak", sources=(), **SPAN) as run:
        assert await asyncio.to_thread(run.record, ITEMS) == 3


@pytest.mark.django_db(transaction=True)
def test_results_that_cannot_be_recorded_make_the_run_failed():
    with pytest.raises(KeyError), stress_test_run("soak", **SPAN):
        raise KeyError("latency")
    stored = TestRun.objects.get()
    assert (stored.status, stored.notes, stored.ended_at) == ("failed", "KeyError: 'latency'", SPAN["ended_at"])


# --- over HTTP ---

STARTED = {"slug": "soak-1", "status": "running", "started_at": None, "ended_at": None, "sources": []}


def started(**changes):
    return answer(201, {**STARTED, **changes})


async def test_the_server_gets_what_the_block_says():
    options = {"test": "checkout", "parameters": {"at": BEGIN}, "tags": ("x",)}
    answers = (started(), *[answer(200, {"slug": "soak-1"})] * 2, answer(200, {"status": "completed"}))
    async with (
        Answers(*answers) as server,
        stress_test_run("soak", sources=["me"], url=server.url, token=TOKEN, **options) as run,
    ):
        run.phase("ramp")
        await asyncio.to_thread(wait_until, lambda: len(server.requests) == 2, 5)
        run.end_phase()
    assert [path.rpartition("soak-1")[2] for path in server.paths] == ["/api/runs/", *["/phases/"] * 2, "/stop/"]
    sent = [json.loads(body) for _, body in server.requests]
    assert sent[0] == {
        **{"name": "soak", "sources": ["me"], "tags": ["x"], "notes": "", "test": "checkout"},
        "parameters": {"at": "2026-01-31T12:00:00Z"},
    }
    assert [body["name"] for body in sent[1:3]] == ["ramp", None]
    assert all(0 <= body["seconds_ago"] < 5 for body in sent[1:3])


async def test_the_server_records_the_results(monkeypatch):
    monkeypatch.setattr(http_runs, "RUN_RETRY_SECONDS", 0.01)
    ended = started(status="completed")
    refused = {"accepted": 0, "errors": [{"index": 0, "path": "timestamp", "code": "x", "message": "too early"}]}
    async with Answers(ended, answer(503, {}), answer(202, {"accepted": 3}), answer(422, refused)) as server:
        half = BEGIN + timedelta(minutes=5)
        given = [{"name": "ramp", "start": BEGIN, "end": half}]
        async with stress_test_run("soak", url=server.url, token=TOKEN, phases=given, **SPAN) as run:
            assert await asyncio.to_thread(run.record, ITEMS) == 3
            with pytest.raises(RunError, match="1 metrics of the test run 'soak-1' were not recorded, the first: time"):
                await asyncio.to_thread(run.record, ITEMS[:1])
    start, first, again, _ = server.requests
    content = json.loads(start[-1])
    assert (content["started_at"], content["ended_at"]) == (
        "2026-01-31T12:00:00.000000Z",
        "2026-01-31T12:10:00.000000Z",
    )
    assert content["phases"][0]["end"] == "2026-01-31T12:05:00.000000Z"
    assert first == again
    assert first[0]["Idempotency-Key"]
    assert [json.loads(line)["data"] for line in first[-1].split(b"\n")] == [{"n": n} for n in range(3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": {"a": [1]}}, "the parameter 'a' is "),
        ({"started_at": "soon", "ended_at": BEGIN}, "started_at is 'soon'; allowed: a datetime, ISO 8601"),
        ({"phases": "ramp"}, "phases is 'ramp'; allowed: a list"),
    ],
)
async def test_what_is_not_allowed_is_an_error_before_the_block(options, message):
    with pytest.raises(RunError, match=message):
        await stress_test_run("soak", url="http://127.0.0.1:9", token=TOKEN, **options).__aenter__()


def test_a_broadcaster_records_as_its_own_source(monkeypatch):
    sent = []
    monkeypatch.setattr(http_runs.HttpRunStore, "start", lambda self: RUN)
    monkeypatch.setattr(http_runs.HttpRunStore, "record", lambda self, metrics: sent.extend(metrics))
    with (
        Broadcaster(url="http://127.0.0.1:9", token=TOKEN, source="me") as stream,
        stream.stress_test_run("soak", **SPAN) as run,
    ):
        run.record([{"metric_type": "system", "data": {}, "timestamp": BEGIN}])
    assert [metric.source for metric in sent] == ["me"]
