"""`/api/v1/runs/<slug>/compare/`: which token may compare which run, and what is answered."""

import gzip

import pytest
from asgiref.sync import sync_to_async

from metrics_stream.audit import trail
from metrics_stream.models import AccessToken, AuditEntry
from metrics_stream.runtime.runtime import stop_runtime
from tests.core.formats.results.test_reading import FILES
from tests.support.api import Program, outcome
from tests.support.markers import MARK, OURS, RUN, VIEWER, closed_with_types, plant
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/runs/soak/compare/"
BINARY = "application/octet-stream"
AB = (FILES / "ab.txt").read_bytes()


@pytest.fixture
async def reader(runtime, async_client):
    """A program that may read test runs."""
    made = Program(async_client, "subscribe")
    await made.token()
    await sync_to_async(record)()
    return made


def record(slug="soak", sources=("web-1",)):
    run, recording = start_run(slug, sources=list(sources)), Recording(slug)
    for source in sources:
        recording.record(metric(1, {"requests_total": 200, "requests_failed": 33}, source=source))
    return recording.end(run)


def figures(response):
    assert response.status_code == 200, response.content
    return {row["figure"]: (row["run"], row["tool"], row["equal"]) for row in response.json()["figures"]}


async def test_a_run_is_compared_at_both_addresses(reader):
    for path in (PATH, PATH.replace("/v1", "")):
        response = await reader.post(path, AB, kind=BINARY)
        assert response.json()["format"] == "ab"
        assert figures(response)["failures"] == (33.0, 33.0, True)


async def test_format_and_tolerance_are_parameters(reader):
    body = AB.replace(b"requests:      200", b"requests:      201")
    assert figures(await reader.post(f"{PATH}?format=ab", body, kind="text/plain"))["requests"] == (200.0, 201.0, False)
    response = await reader.post(f"{PATH}?format=ab&tolerance=1", body, kind="text/plain")
    assert figures(response)["requests"] == (200.0, 201.0, True)
    packed = await reader.post(PATH, gzip.compress(AB), kind="text/plain", content_encoding="gzip")
    assert figures(packed)["requests"] == (200.0, 200.0, True)


@pytest.mark.parametrize(
    ("query", "body", "kind", "expected", "words"),
    [
        ("", AB, "text/html", (415, "unsupported"), "Content-Type is 'text/html'; allowed: application/octet-stream,"),
        ("", b" ", BINARY, (400, "not_a_document"), "the file is empty"),
        ("", b"hello", BINARY, (400, "not_a_document"), "of no known format; it begins with 'hello'"),
        ("?format=gatling", AB, BINARY, (400, "not_a_document"), "unknown format 'gatling'; allowed: locust, "),
        ("?format=wrk", AB, BINARY, (400, "not_a_document"), "is it complete?"),
        (
            "?tolerance=-1",
            AB,
            BINARY,
            (400, "not_a_document"),
            "tolerance is '-1'; allowed: a number of per cent from 0",
        ),
        ("?tolerance=x", AB, BINARY, (400, "not_a_document"), "tolerance is 'x'; allowed"),
        ("?tolerance=101", AB, BINARY, (400, "not_a_document"), "tolerance is '101'; allowed"),
        ("", b"x" * 1_000_001, BINARY, (413, "too_large"), "more than 1,000,000 bytes"),
    ],
)
async def test_a_wrong_request_is_refused_with_words(reader, query, body, kind, expected, words):
    response = await reader.post(f"{PATH}{query}", body, kind=kind)
    assert outcome(response) == expected
    assert words in response.json()["message"]


async def test_only_a_token_that_subscribes_compares(reader, admin_user):
    await reader.client.aforce_login(admin_user)
    assert outcome(await reader.post(PATH, AB, kind=BINARY, authorization="")) == (401, "not_authenticated")
    await reader.token(name="publishes", scopes=["publish", "runs"])
    response = await reader.post(PATH, AB, kind=BINARY)
    assert outcome(response) == (403, "forbidden")
    assert 'scope="subscribe"' in response["WWW-Authenticate"]
    assert outcome(await reader.client.get(PATH)) == (405, "method_not_allowed")


async def test_a_run_that_the_token_may_not_read_looks_as_if_it_did_not_exist(reader):
    await reader.token(name="narrow", sources=["web-2"])
    hidden = await reader.post(PATH, AB, kind=BINARY)
    nothing = await reader.post("/api/v1/runs/none/compare/", AB, kind=BINARY)
    assert outcome(hidden) == outcome(nothing) == (404, "unknown_run")
    assert hidden.json()["message"].replace("soak", "none") == nothing.json()["message"]
    for slug in ("so%00ak", "%F0%9F%90%A8"):
        assert outcome(await reader.post(f"/api/v1/runs/{slug}/compare/", AB, kind=BINARY)) == (404, "unknown_run")


async def test_a_token_without_metric_types_is_refused(reader):
    await reader.token(name="nothing", metric_types=[])
    assert outcome(await reader.post(PATH, AB, kind=BINARY)) == (403, "forbidden")


async def test_requests_are_limited(reader, settings):
    settings.METRICS_STREAM = {"INGEST_REQUESTS_PER_SECOND": 0.5}
    await stop_runtime()
    await reader.token(name="slow")
    answers = [await reader.post(PATH, AB, kind=BINARY) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2


async def test_the_audit_log_has_who_compared_what(reader):
    await reader.post(PATH, AB, kind=BINARY)
    await sync_to_async(trail.flush)()
    # Notes of tests before this one may be written now, too.
    entry = await AuditEntry.objects.filter(action="export", what="soak compared with ab").alatest("last_at")
    assert (entry.who, entry.what, entry.address) == ("token k6 in Oslo", "soak compared with ab", "127.0.0.1")


async def test_nothing_of_hidden_metrics_is_in_an_answer(runtime, async_client):
    with closed_with_types:
        await sync_to_async(plant)()
        token = await sync_to_async(viewers_token)()
        for slug in (OURS, RUN):
            headers = {"authorization": f"Bearer {token}"}
            path = f"/api/v1/runs/{slug}/compare/"
            response = await async_client.generic("POST", path, AB, content_type=BINARY, headers=headers)
            assert response.status_code == (200 if slug == OURS else 404)
            assert MARK not in response.content.decode().replace(RUN, "")


def viewers_token() -> str:
    """Return a token bound to a person who may see part of the metrics."""
    from django.contrib.auth.models import User

    maker = User.objects.get(username=VIEWER)
    values = {"name": "probe", "scopes": ["subscribe"], "metric_types": ["system", "agent"]}
    return AccessToken.issue(created_by=maker, **values)[1]
