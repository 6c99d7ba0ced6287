"""Test runs over HTTP, with answers that a real server seldom gives."""

import json
import re
import socket
from types import SimpleNamespace

import pytest

from metrics_stream.broadcast import Broadcaster, RunError, http_runs, run_block, stress_test_run
from tests.support.programs import CUT, TOKEN, Answers, answer, messages
from tests.support.stack import eventually


@pytest.fixture
def log(log, monkeypatch):
    """The log, in tests that do not wait before they ask again."""
    monkeypatch.setattr(http_runs, "RUN_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(run_block, "RUN_RETRY_SECONDS", 0.001)
    return log


def started(**changes):
    content = {"slug": "soak-1", "status": "running", "sources": ["me"], "alive_seconds": 5.0, **changes}
    return answer(201, {"started_at": "2026-01-31T12:00:00.000000Z", "ended_at": None, **content})


ALIVE = answer(200, {"slug": "soak-1", "alive_seconds": 5.0})


ENDED = answer(200, {"slug": "soak-1", "status": "completed", "ended_at": "2026-01-31T12:00:09.000000Z"})


def run_at(server):
    return stress_test_run("soak", url=server.url, token=TOKEN)


async def test_the_request_has_the_documented_form(log):
    async with Answers(started(), ENDED) as server:
        async with stress_test_run("soak", sources=["me"], tags=("x",), url=server.url, token=TOKEN) as run:
            assert (run.slug, run.status, run.sources) == ("soak-1", "running", ["me"])
        assert (run.status, run.ended_at.second) == ("completed", 9)
    assert server.paths == ["/api/runs/", "/api/runs/soak-1/stop/"]
    (headers, body), (_, end) = server.requests
    assert json.loads(body) == {"name": "soak", "sources": ["me"], "tags": ["x"], "notes": ""}
    assert json.loads(end) == {"status": "completed", "note": ""}
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/json"
    assert len(headers["Idempotency-Key"]) == 32
    assert messages(log) == []


async def test_a_run_of_a_broadcaster_has_its_source(log):
    async with Answers(started(), ENDED, started(), ENDED) as server:
        for source in ("me", None):
            stream = Broadcaster(source=source, url=server.url, token=TOKEN)
            async with stream.stress_test_run("soak"):
                pass
            stream.close()
        sources = [json.loads(body)["sources"] for _, body in server.requests[::2]]
    assert sources == [["me"], [socket.gethostname()]]


@pytest.mark.parametrize(
    "lost",
    [
        None,
        b"HTTP/1.1 201 Created\r\nContent-Length: 50" + CUT,
        answer(503, {"message": "later"}, "Retry-After: 0"),
        answer(500, {}),
    ],
    ids=["closed", "cut off", "503", "500"],
)
async def test_a_start_without_an_answer_is_repeated_with_its_key(lost, log):
    async with Answers(lost, started(), ENDED) as server, run_at(server) as run:
        assert run.slug == "soak-1"
    keys = [headers.get("Idempotency-Key") for headers, _ in server.requests]
    assert keys[0] == keys[1]
    assert keys[0] is not None
    assert messages(log)[0].startswith("the test run soak cannot be started yet: ")
    assert TOKEN not in log.text


async def test_a_server_that_stays_away_is_an_error_before_the_test(log, monkeypatch):
    monkeypatch.setattr(http_runs, "START_SECONDS", 0.05)
    async with Answers() as server:
        pass
    with pytest.raises(RunError, match="could not be reached"):
        await stress_test_run("soak", url=server.url, token=TOKEN).__aenter__()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer(201, {}), "answered 201 without the slug of a run"),
        (started(slug="a/../../b"), "answered 201 without the slug"),
        (started(slug=7), "answered 201 without the slug"),
        (answer(404, "nothing here"), "answered 404 without a message"),
        (answer(302, {}, "Location: /login/"), "answered 302"),
        (answer(501, {"error": "runs_off", "message": "no history"}), "answered 501: no history"),
        (answer(409, {"error": "too_many_runs", "message": f"20 of {TOKEN}"}), "answered 409: 20 of mst_…"),
    ],
)
async def test_a_run_that_is_not_started_is_an_error_at_once(given, said, log):
    async with Answers(given) as server:
        block = run_at(server)
        with pytest.raises(RunError, match=re.escape(said)) as error:
            await block.__aenter__()
    assert TOKEN not in str(error.value)
    assert len(server.requests) == 1


async def test_the_server_sets_the_keep_alive_interval_within_bounds(log, monkeypatch):
    monkeypatch.setattr(http_runs, "ALIVE_BOUNDS", (0.01, 0.02))
    for seconds in (0, -1, 1e9):
        async with Answers(started(alive_seconds=seconds), usual=ALIVE) as server, run_at(server):
            await eventually(lambda server=server: server.paths.count("/api/runs/soak-1/alive/") > 1, 5)
    run_store = http_runs.HttpRunStore(SimpleNamespace(), {"name": "x"})
    assert run_store.alive_seconds == 5.0


async def test_a_run_that_was_ended_elsewhere_stays_as_it_is(log, monkeypatch):
    monkeypatch.setattr(http_runs, "ALIVE_BOUNDS", (0.01, 0.01))
    over = answer(409, {"error": "run_ended", "message": "it is cancelled", "status": "cancelled"})
    async with Answers(started(), usual=over) as server, run_at(server) as run:
        await eventually(lambda: len(server.requests) > 1, 5)
    assert run.status == "cancelled"
    assert server.paths == ["/api/runs/", "/api/runs/soak-1/alive/", "/api/runs/soak-1/stop/"]
    assert [record.levelname for record in log.records] == ["WARNING", "INFO"]


async def test_the_end_is_repeated_until_the_server_is_back(log):
    busy = answer(429, {"message": "later"}, "Retry-After: 0")
    async with Answers(started(), None, busy, busy, ENDED) as server, run_at(server) as run:
        pass
    assert run.status == "completed"
    assert server.paths.count("/api/runs/soak-1/stop/") == 4
    assert messages(log) == []


async def test_a_revoked_token_loses_the_end_of_the_run_but_not_the_test(log):
    refused = answer(401, {"error": "not_authenticated", "message": f"the token {TOKEN} has been revoked"})
    async with Answers(started(), refused) as server, stress_test_run("soak", url=server.url, token=TOKEN) as run:
        pass
    assert run.status == "running"
    [message] = messages(log)
    assert message.startswith("the end of the test run soak-1 was not stored: ")
    assert message.endswith("answered 401: the token mst_… has been revoked")


async def test_published_metrics_are_sent_before_the_run_ends(log):
    async with Answers(started(), answer(202, {"accepted": 1}), ENDED) as server:
        stream = Broadcaster(source="me", url=server.url, token=TOKEN)
        async with stream.stress_test_run("soak"):
            stream.broadcast_system_metrics({"n": 1})
        stream.close()
    assert server.paths == ["/api/runs/", "/api/metrics/", "/api/runs/soak-1/stop/"]


def test_an_invalid_address_or_token_is_an_error_of_the_caller():
    for options in (
        {"url": "localhost", "token": TOKEN},
        {"url": "https://localhost", "token": "a b"},
        {"token": TOKEN},
    ):
        with pytest.raises(ValueError, match="url|token"):
            stress_test_run("soak", **options)
    with pytest.raises(ValueError, match="insecure=True"):
        stress_test_run("soak", url="http://192.0.2.1", token=TOKEN)
    stress_test_run("soak", url="http://192.0.2.1", token=TOKEN, insecure=True)
