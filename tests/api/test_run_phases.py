"""`POST /api/runs/<slug>/phases/`, and what a run says of itself when it is started over HTTP."""

from datetime import UTC, datetime

import pytest
from asgiref.sync import sync_to_async

from metrics_stream.models import RunPhase, TestRun
from metrics_stream.runs import lifecycle
from tests.support.api import RUNS_PATH, outcome

pytestmark = pytest.mark.django_db(transaction=True)

SPAN = {"started_at": "2026-01-31T12:00:00Z", "ended_at": "2026-01-31T13:00:00Z"}
RAMP = {"name": "ramp", "start": "2026-01-31T12:00:00Z", "end": "2026-01-31T12:10:00Z"}


async def mark(program, slug, content):
    return await program.post(f"{RUNS_PATH}{slug}/phases/", content)


async def test_a_run_says_what_was_tested(program):
    wish = {"test": "checkout", "parameters": {"commit": "3f2a9c1", "users": 50, "tls": True}}
    response = await program.post(RUNS_PATH, {"name": "Soak", **wish})
    run = await TestRun.objects.aget()
    assert (run.test, run.parameters) == ("checkout", wish["parameters"])
    assert {key: response.json()[key] for key in wish} == wish
    await program.start(name="Größe 2")
    assert (await TestRun.objects.aget(name="Größe 2")).test == "groe-2"
    await program.start(name="none", test="")
    assert (await TestRun.objects.aget(name="none")).test == ""


async def test_a_run_of_a_test_that_is_over_has_its_own_times(program):
    answer = await program.post(RUNS_PATH, {"name": "soak", **SPAN, "phases": [RAMP]})
    run = await TestRun.objects.aget()
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert answer.json()["ended_at"] == "2026-01-31T13:00:00.000000Z"
    assert (run.started_at, run.ended_at) == (
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(2026, 1, 31, 13, tzinfo=UTC),
    )
    assert await RunPhase.objects.acount() == 1
    slug = answer.json()["slug"]
    assert outcome(await program.alive(slug)) == (409, "run_ended")
    failed = (await program.stop(slug, {"status": "failed", "note": "too slow"})).json()
    assert (failed["status"], failed["ended_at"]) == ("failed", "2026-01-31T13:00:00.000000Z")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"test": "a b"}, "test is 'a b'; allowed: 1 to 100 letters"),
        ({"test": 7}, "test is 7; allowed"),
        ({"parameters": ["a"]}, 'parameters is ["a"]; allowed: an object'),
        ({"parameters": None}, "parameters is null; allowed: an object"),
        ({"parameters": {"a": None}}, "the parameter 'a' is null; allowed"),
        ({"started_at": "2026-01-31T12:00:00Z"}, "ended_at is missing; allowed: both"),
        ({**SPAN, "ended_at": "2026-01-31"}, "allowed: an instant after started_at"),
        ({**SPAN, "started_at": "soon"}, "started_at is 'soon'; allowed: a datetime, ISO 8601"),
        ({**SPAN, "phases": [{"name": "x"}]}, 'a phase is {"name":"x"}; allowed: an object with name, start and end'),
        ({**SPAN, "phases": [{**RAMP, "end": "2026-01-31T14:00:00Z"}]}, "the phase 'ramp' is outside its run"),
        ({"phases": [RAMP]}, "phases is given without started_at and ended_at"),
        ({"phases": None}, "phases is null; allowed: a list"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_wrong_value_is_named_with_what_is_allowed(program, body, message):
    response = await program.post(RUNS_PATH, {"name": "soak", **body})
    assert outcome(response) == (422, "invalid_run")
    assert message in response.json()["message"]
    assert not await TestRun.objects.aexists()


async def test_phases_are_marked_while_the_run_goes_on(program):
    slug = await program.start()
    for content, names in (
        ({"name": "ramp"}, ["ramp"]),
        ({"name": "steady", "seconds_ago": 0.0001}, ["ramp", "steady"]),
        ({"name": "steady"}, ["ramp", "steady"]),
        ({"name": None}, ["ramp", "steady"]),
    ):
        response = await mark(program, slug, content)
        assert (response.status_code, response.json()["slug"]) == (200, slug)
        assert [phase["name"] for phase in response.json()["phases"]] == names
    assert all(phase["end"] for phase in response.json()["phases"])


async def test_all_phases_are_set_at_once_also_when_the_run_has_ended(program):
    slug = (await program.post(RUNS_PATH, {"name": "soak", **SPAN})).json()["slug"]
    steady = {"name": "steady", "start": "2026-01-31T12:10:00Z", "end": None}
    answer = await mark(program, slug, {"phases": [RAMP, steady]})
    assert answer.json()["phases"] == [
        {"name": "ramp", "start": "2026-01-31T12:00:00.000000Z", "end": "2026-01-31T12:10:00.000000Z"},
        {"name": "steady", "start": "2026-01-31T12:10:00.000000Z", "end": "2026-01-31T13:00:00.000000Z"},
    ]
    assert (await mark(program, slug, {"phases": []})).json()["phases"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "`name` is missing; allowed: the name of the phase that begins, or null for none"),
        ({"name": ""}, "the name of a phase is ''; allowed"),
        ({"name": 7}, "the name of a phase is 7; allowed"),
        ({"name": "x", "seconds_ago": -1}, "seconds_ago is -1; allowed: a number from 0 to 3600"),
        ({"name": "x", "seconds_ago": True}, "seconds_ago is true; allowed"),
        ({"name": "x", "at": 5}, "unknown key 'at'; allowed: name, seconds_ago, phases"),
        ({"name": "x", "phases": []}, "phases stands beside another key; allowed: `phases` alone, or `name`"),
        ({"phases": "x"}, "phases is 'x'; allowed: a list of objects"),
        ({"phases": [RAMP]}, "the phase 'ramp' is outside its run"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_wrong_phase_is_named_with_what_is_allowed(program, body, message):
    response = await mark(program, await program.start(), body)
    assert outcome(response) == (422, "invalid_run")
    assert message in response.json()["message"]
    assert not await RunPhase.objects.aexists()


async def test_only_the_token_that_started_a_run_marks_its_phases(program):
    slug = await program.start()
    mine = await sync_to_async(lifecycle.start)("of a person")
    assert outcome(await mark(program, mine.slug, {"name": "x"})) == (404, "unknown_run")
    await program.token(name="another")
    assert outcome(await mark(program, slug, {"name": "x"})) == (404, "unknown_run")
    await program.token(name="publisher", scopes=["publish"])
    assert outcome(await mark(program, slug, {"name": "x"})) == (403, "forbidden")


async def test_a_run_that_has_ended_has_no_new_phase(program):
    slug = await program.start()
    await program.stop(slug)
    response = await mark(program, slug, {"name": "late"})
    assert (*outcome(response), response.json()["status"]) == (409, "run_ended", "completed")
