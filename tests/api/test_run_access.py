"""`/api/runs/`: which programs may start and change which test runs, and how many."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from metrics_stream.models import TestRun
from metrics_stream.runs import lifecycle
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.api import RUNS_PATH, outcome

pytestmark = pytest.mark.django_db(transaction=True)


async def only_run():
    return await TestRun.objects.select_related("started_by").aget()


REFUSED = {
    "no token": (401, "not_authenticated"),
    "unknown": (401, "not_authenticated"),
    "expired": (401, "not_authenticated"),
    "revoked": (401, "not_authenticated"),
    "a cookie": (401, "not_authenticated"),
    "publishes": (403, "forbidden"),
    "subscribes": (403, "forbidden"),
}


@pytest.mark.parametrize("who", REFUSED)
@pytest.mark.parametrize("what", ["start", "alive", "stop"])
async def test_a_request_without_the_right_token_changes_nothing(program, who, what, admin_user):
    slug = await program.start()
    before = await only_run()
    if who == "unknown":
        program.text = "mst_00000000_" + "0" * 64
    elif who == "expired":
        await program.token(name=who, expires_at=timezone.now() - timedelta(seconds=1))
    elif who == "revoked":
        await sync_to_async((await program.token(name=who)).revoke)()
    elif who in ("publishes", "subscribes"):
        await program.token(name=who, scopes=[who.removesuffix("s").replace("publishe", "publish")])
    elif who == "a cookie":
        await program.client.aforce_login(admin_user)
    headers = {"authorization": ""} if who in ("no token", "a cookie") else {}
    path = {"start": RUNS_PATH, "alive": f"{RUNS_PATH}{slug}/alive/", "stop": f"{RUNS_PATH}{slug}/stop/"}[what]
    response = await program.post(path, {"name": "soak"} if what == "start" else None, **headers)
    assert outcome(response) == REFUSED[who]
    shown = response["WWW-Authenticate"]
    assert shown == ("Bearer" if response.status_code == 401 else 'Bearer error="insufficient_scope", scope="runs"')
    after = await only_run()
    assert (after.status, after.alive_at, after.notes) == (before.status, before.alive_at, before.notes)


async def test_a_token_for_runs_alone_publishes_nothing(program):
    response = await program.post("/api/metrics/", {"metric_type": "system", "data": {"n": 1}})
    assert outcome(response) == (403, "forbidden")
    assert 'scope="publish"' in response["WWW-Authenticate"]
    await program.token(name="both", scopes=["publish", "runs"])
    response = await program.post("/api/metrics/", {"metric_type": "system", "data": {"n": 1}})
    assert response.status_code == 202
    await program.start()


async def test_runs_of_other_tokens_look_unknown(program):
    slug = await program.start()
    by_hand = (await sync_to_async(lifecycle.start)("by hand")).slug
    await sync_to_async(lifecycle.stop)(await TestRun.objects.aget(slug=by_hand))
    await program.token(name="another")
    for ask in (program.alive, program.stop):
        answers = [await ask(name) for name in (slug, by_hand, "no-such-run")]
        assert [outcome(answer) for answer in answers] == [(404, "unknown_run")] * 3
        texts = {
            answer.json()["message"].replace(name, "…")
            for answer, name in zip(answers, (slug, by_hand, "no-such-run"), strict=True)
        }
        assert texts == {"there is no test run '…' that this token has started"}
    assert (await TestRun.objects.aget(slug=slug)).status == "running"


@pytest.mark.parametrize("slug", ["a%20b", "%00", "x" * 151, "%F0%9F%98%80", "..", "a'b", "a%0Ab"])
async def test_an_invalid_slug_is_an_unknown_run(program, slug):
    for what in ("alive", "stop"):
        response = await program.post(f"{RUNS_PATH}{slug}/{what}/")
        assert outcome(response) == (404, "unknown_run")


async def test_all_requests_of_a_token_count_together(program, settings):
    settings.METRICS_STREAM = {"INGEST_REQUESTS_PER_SECOND": 0.3}
    await stop_runtime()
    slug = await program.start()
    await program.alive(slug)
    await program.stop(slug)
    response = await program.alive(slug)
    assert outcome(response) == (429, "too_many_requests")
    assert 1 <= int(response["Retry-After"]) <= 4


async def test_guessing_is_limited(program, settings):
    settings.METRICS_STREAM = {"INGEST_GUESSES_PER_MINUTE": 2}
    await stop_runtime()
    answers = [await program.post(RUNS_PATH, {}, authorization=f"Bearer mst_{n:08}_0") for n in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]


async def test_a_deleted_token_starts_nothing(program):
    await program.start()
    await program.row.adelete()
    assert outcome(await program.post(RUNS_PATH, {"name": "soak"})) == (401, "not_authenticated")
    run = await only_run()
    assert (run.started_by, run.status) == (None, "running")
