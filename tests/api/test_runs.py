"""`/api/runs/`: how programs start, keep alive and end test runs, and what is answered."""

import asyncio
import gzip
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection

from metrics_stream.api import programs, requests, runs
from metrics_stream.broadcast import broadcast_many
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import RunStorageError
from metrics_stream.history import open_history
from metrics_stream.models import TestRun
from metrics_stream.runs import lifecycle, liveness, recorder
from metrics_stream.runtime.runtime import get_runtime
from tests.support.api import RUNS_PATH, outcome

pytestmark = pytest.mark.django_db(transaction=True)


async def only_run():
    return await TestRun.objects.select_related("started_by").aget()


async def active():
    return {run.id: run.sources for run in await open_history(get_settings()).active_runs()}


async def test_a_run_is_started_with_all_its_values(program):
    wish = {"sources": ["a", "b", "a"], "target_tps": 200, "tags": ["x", "x"], "notes": "new cache"}
    response = await program.post(RUNS_PATH, {"name": "Checkout soak", **wish})
    run = await only_run()
    assert (run.name, run.sources, run.target_tps, run.tags, run.notes) == (
        *("Checkout soak", ["a", "b"], 200.0),
        *(["x"], "new cache"),
    )
    assert (run.status, run.started_by, run.alive_at) == ("running", program.row, run.started_at)
    assert response.status_code == 201
    assert response.json() == {
        "slug": run.slug,
        "status": "running",
        "started_at": run.started_at.isoformat().replace("+00:00", "Z"),
        "ended_at": None,
        "test": "checkout-soak",
        "sources": ["a", "b"],
        "parameters": {},
        "alive_seconds": lifecycle.ALIVE_SECONDS,
        "silent_seconds": liveness.SILENT_RUN_SECONDS,
    }
    assert await active() == {run.slug: ("a", "b")}


async def test_a_run_has_every_source_unless_the_token_is_limited(program):
    for wish in ({}, {"sources": []}):
        assert (await TestRun.objects.aget(slug=await program.start(**wish))).sources == []
    await program.token(name="narrow", sources=["b", "a"])
    for wish, sources in (({}, ["a", "b"]), ({"sources": []}, ["a", "b"]), ({"sources": ["b"]}, ["b"])):
        assert (await TestRun.objects.aget(slug=await program.start(**wish))).sources == sources
    response = await program.post(RUNS_PATH, {"name": "soak", "sources": ["b", "of others"]})
    assert outcome(response) == (422, "invalid_run")
    assert response.json()["message"] == "source 'of others' is not one of this token; allowed: a, b"


async def test_metrics_of_its_sources_belong_to_it_and_end_with_it(program):
    slug = await program.start(sources=["mine"])
    history = open_history(get_settings())
    place = await history.heads(["system"])
    items = [{"metric_type": "system", "data": {"n": 1}, "source": source} for source in ("mine", "of others")]
    await broadcast_many(items)
    await program.stop(slug)
    await broadcast_many(items)
    assigned = [batch.runs for batch in (await history.since(place)).batches]
    assert assigned == [{"mine": (slug,)}, {}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "`name` is missing; allowed: what is tested, a text of 1 to 100 characters"),
        ({"name": ""}, "name is ''; allowed: a text of 1 to 100 characters"),
        ({"name": " "}, "name is ' '; allowed"),
        ({"name": None}, "name is null; allowed: a text"),
        ({"name": 7}, "name is 7; allowed: a text"),
        ({"name": "x" * 101}, "name: Ensure this value has at most 100 characters (it has 101)."),
        ({"name": "a\x00b"}, "name: 'a\\x00b' holds the character '\\x00'"),
        ({"nmae": "x"}, "unknown key 'nmae'; allowed: name, sources, target_tps, tags, notes"),
        ({"target_tps": "5"}, "target_tps is '5'; allowed: a number from 0 to 1e+12, or null"),
        ({"target_tps": True}, "target_tps is true; allowed: a number"),
        ({"target_tps": -1}, "target_tps is -1; allowed: a number from 0"),
        ({"target_tps": 10**400}, "target_tps is 1000"),
        ({"tags": "soak"}, "tags is 'soak'; allowed: a list of texts"),
        ({"tags": {"soak": 1}}, 'tags is {"soak":1}; allowed: a list of texts'),
        ({"tags": [""]}, "tags: '' is not a text; allowed: a list of texts that are not empty"),
        ({"tags": ["x" * 201]}, "has 201 characters; allowed: at most 200 for each entry"),
        ({"sources": [["a"]]}, 'sources is [["a"]]; allowed: a list of texts'),
        ({"sources": None}, "sources is null; allowed: a list of texts"),
        ({"sources": list(map(str, range(1001)))}, "the list has 1,001 entries; allowed: at most 1,000"),
        ({"notes": 1}, "notes is 1; allowed: a text"),
        ({"notes": "x" * 5001}, "notes: the text has 5,001 characters; allowed: at most 5,000"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_wrong_value_is_named_with_what_is_allowed(program, body, message):
    body = {"name": "soak", **body} if body and "nmae" not in body else body
    response = await program.post(RUNS_PATH, body)
    assert outcome(response) == (422, "invalid_run")
    assert message in response.json()["message"]
    assert not await TestRun.objects.aexists()


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"null", b'"soak"', b"\xff", b"[" * 100_000, b'{"name": NaN}'])
async def test_a_body_that_is_not_an_object_is_400(program, body):
    for path in (RUNS_PATH, f"{RUNS_PATH}soak/alive/", f"{RUNS_PATH}soak/stop/"):
        assert outcome(await program.post(path, body)) == (400, "not_a_document")


async def test_a_body_is_json_within_the_bounds(program, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 300}
    for kind in ("application/x-ndjson", "application/x-www-form-urlencoded"):
        assert outcome(await program.post(RUNS_PATH, {"name": "soak"}, kind=kind)) == (415, "unsupported")
    assert outcome(await program.post(RUNS_PATH, {"name": "x" * 300})) == (413, "too_large")
    packed = gzip.compress(b'{"name": "packed"}')
    assert (await program.post(RUNS_PATH, packed, content_encoding="gzip")).status_code == 201
    assert "allowed: POST" in (await program.client.get(RUNS_PATH)).json()["message"]


async def test_a_body_that_is_too_large_is_answered_before_its_end(program, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 10}
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"1234567", "more_body": True}

    async def send(message):
        sent.append(message)

    async def read(scope, receive, send):
        while (await receive())["type"] == "http.request":
            pass

    for path in (RUNS_PATH, f"{RUNS_PATH}soak/alive/", f"{RUNS_PATH}soak/stop/"):
        await requests.with_bounded_bodies(read)({"path": path, "headers": []}, receive, send)
    assert [message["status"] for message in sent if "status" in message] == [413] * 3


async def test_without_a_history_no_run_is_started(program, settings):
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    response = await program.post(RUNS_PATH, {"name": "soak"})
    assert outcome(response) == (501, "runs_off")
    assert not await TestRun.objects.aexists()


async def test_a_repeated_start_starts_no_second_run(program):
    body = {"name": "soak", "tags": ["x"]}
    first = await program.post(RUNS_PATH, body, idempotency_key="build 7")
    get_runtime().owned.clear()  # Like a process that has not seen the key.
    again = await program.post(RUNS_PATH, body, idempotency_key="build 7")
    assert [answer.status_code for answer in (first, again)] == [201, 201]
    assert again.json() == {**first.json(), "repeated": True}
    await program.stop(first.json()["slug"])
    again = await program.post(RUNS_PATH, body, idempotency_key="build 7")
    assert (again.json()["slug"], again.json()["status"]) == (first.json()["slug"], "completed")
    assert await TestRun.objects.acount() == 1


async def test_starts_at_the_same_time_start_one_run(program):
    answers = await asyncio.gather(*(program.post(RUNS_PATH, {"name": "soak"}, idempotency_key="x") for _ in range(4)))
    slugs = {answer.json()["slug"] for answer in answers if answer.status_code == 201}
    assert len(slugs) == 1
    assert await TestRun.objects.acount() == 1


async def test_another_key_body_or_token_is_another_start(program):
    for body, key in (("soak", "1"), ("soak", "2"), ("other", "1")):
        response = await program.post(RUNS_PATH, {"name": body}, idempotency_key=key)
        assert "repeated" not in response.json()
    await program.token(name="another")
    response = await program.post(RUNS_PATH, {"name": "soak"}, idempotency_key="1")
    assert "repeated" not in response.json()
    assert await TestRun.objects.acount() == 4
    assert outcome(await program.post(RUNS_PATH, {"name": "soak"}, idempotency_key="")) == (400, "invalid_key")


async def test_the_open_runs_of_a_token_are_limited(program, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_OPEN_RUNS": 2}
    first, second = [await program.start() for _ in range(2)]
    await sync_to_async(lifecycle.pause)(await TestRun.objects.aget(slug=second))
    response = await program.post(RUNS_PATH, {"name": "soak"})
    assert outcome(response) == (409, "too_many_runs")
    assert response.json()["message"].endswith(f"allowed: at most 2. Stop one of them: {first}, {second}")
    await program.stop(first)
    await program.start()
    await program.token(name="another")
    await program.start()


async def test_a_run_is_kept_alive(program):
    slug = await program.start()
    before = await only_run()
    for body in (None, {}):
        response = await program.alive(slug, body)
        assert (response.status_code, response.json()) == (
            200,
            {"slug": slug, "alive_seconds": lifecycle.ALIVE_SECONDS},
        )
    assert (await only_run()).alive_at > before.alive_at
    assert (await program.alive(slug, kind="")).status_code == 200
    assert outcome(await program.alive(slug, {"status": "running"})) == (422, "invalid_run")


async def test_one_statement_keeps_a_run_alive(program, django_assert_num_queries, monkeypatch):
    slug = await program.start()
    later = programs.time.monotonic()

    def ask():
        with django_assert_num_queries(1):
            runs._keep_alive(program.row.pk, slug)

    await sync_to_async(ask)()
    never = mock.AsyncMock(side_effect=AssertionError("asked"))
    monkeypatch.setattr(programs, "_find", never)
    with mock.patch.object(programs.time, "monotonic", return_value=later):
        assert (await program.alive(slug)).status_code == 200


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_a_run_ends_with_the_given_status(program, status):
    slug = await program.start(notes="before")
    response = await program.stop(slug, {"status": status, "note": "line\nred \x1b[31m"})
    run = await only_run()
    assert (response.status_code, response.json()["status"]) == (200, status)
    assert response.json()["ended_at"] == run.ended_at.isoformat().replace("+00:00", "Z")
    assert (run.status, run.notes) == (status, "before\n\nline\nred  [31m")
    assert await active() == {}


async def test_a_run_is_completed_by_default(program):
    assert (await program.stop(await program.start())).json()["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"status": "done"}, "status is 'done'; allowed: completed, failed, cancelled"),
        ({"status": "paused"}, "status is 'paused'; allowed"),
        ({"status": ["failed"]}, 'status is ["failed"]; allowed'),
        ({"note": 7}, "note is 7; allowed: a text"),
        ({"notes": "x"}, "unknown key 'notes'; allowed: status, note"),
    ],
)
async def test_a_run_cannot_end_with_another_status(program, body, message):
    response = await program.stop(await program.start(), body)
    assert outcome(response) == (422, "invalid_run")
    assert message in response.json()["message"]
    assert (await only_run()).status == "running"


async def test_a_run_ends_once_and_later_requests_get_its_status(program):
    slug = await program.start()
    ended = (await program.stop(slug, {"status": "failed"})).json()
    for response in (await program.stop(slug), await program.alive(slug)):
        assert outcome(response) == (409, "run_ended")
        assert response.json()["message"] == f"the test run {slug!r} has already ended: it is failed"
        assert {key: response.json()[key] for key in ended} == ended
    assert (await only_run()).status == "failed"


async def test_a_run_that_was_deleted_is_unknown(program):
    slug = await program.start()
    await TestRun.objects.all().adelete()
    assert outcome(await program.alive(slug)) == (404, "unknown_run")
    assert outcome(await program.stop(slug)) == (404, "unknown_run")


async def test_a_paused_run_is_kept_alive_and_ends(program):
    slug = await program.start()
    await sync_to_async(lifecycle.pause)(await only_run())
    assert (await program.alive(slug)).status_code == 200
    assert (await program.stop(slug)).status_code == 200


async def test_the_run_of_a_silent_program_has_failed(program):
    clock = mock.Mock(return_value=0.0)

    def fall_silent():
        watching = recorder.Recorder(get_settings(), name="here", clock=clock)
        watching.open()
        try:
            watching.step()
            clock.return_value += liveness.SILENT_RUN_SECONDS
            watching.step()
        finally:
            watching._await(watching._history.close())
            watching._loop.close()
        connection.close()

    slug = await program.start()
    await asyncio.to_thread(fall_silent)
    assert (await only_run()).status == "failed"
    assert outcome(await program.alive(slug)) == (409, "run_ended")


async def test_an_outage_of_the_database_is_503_without_details(program, monkeypatch):
    slug = await program.start()
    for error in (DatabaseError("password of postgres"), RunStorageError("password of postgres")):
        for name in ("_start_run", "_keep_alive", "_stop_run"):
            monkeypatch.setattr(runs, name, mock.Mock(side_effect=error))
        for response in (
            await program.post(RUNS_PATH, {"name": "soak"}),
            await program.alive(slug),
            await program.stop(slug),
        ):
            assert (*outcome(response), response["Retry-After"]) == (503, "unavailable", "5")
            assert "password" not in response.content.decode()


async def test_refusals_are_counted(program):
    await program.stop("no-such-run")
    await program.post(RUNS_PATH, {})
    assert get_runtime().telemetry.ingest_requests_refused == {"unknown_run": 1, "invalid_run": 1}
