"""`POST /api/metrics/`: who may publish, what a body may be, what is answered, and that nothing comes twice."""

import gzip
import json
from datetime import timedelta
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.utils import timezone

from metrics_stream.api import programs as publishers
from metrics_stream.api import requests as http_entrance
from metrics_stream.bus import bus as bus_module
from metrics_stream.bus.bus import Bus
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import open_history
from metrics_stream.models import AccessToken, TokenName
from metrics_stream.runtime.runtime import get_runtime, stop_runtime

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/metrics/"

ITEM = {"metric_type": "system", "data": {"throughput_tps": 950.0}, "source": "load", "timestamp": 1.5}


def item(number, **changes):
    return {**ITEM, "data": {"n": number}, **changes}


class ProducerNumbering:
    """A program with a token, as the address sees it."""

    def __init__(self, client):
        self.client = client

    async def token(self, **values):
        """Make a token and use it from now on."""
        defaults = {"name": "k6 in Oslo", "scopes": ["publish"], "metric_types": ["all"]}
        self.row, self.text = await sync_to_async(AccessToken.issue)(**{**defaults, **values})
        return self.row

    async def post(self, content, *, kind="application/json", **headers):
        """Send a body, JSON unless it is bytes."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {self.text}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.client.generic("POST", PATH, body, content_type=kind, headers=headers)


@pytest.fixture
async def numbering(async_client):
    bus_module.declare_server()
    runtime = get_runtime()
    runtime.telemetry.ingest_metrics_refused.clear()
    runtime.telemetry.ingest_requests_refused.clear()
    made = ProducerNumbering(async_client)
    await made.token()
    yield made
    await stop_runtime()


async def published(metric_type="system"):
    """Return what the history keeps of a type."""
    history, position, is_last = open_history(get_settings()), Position("", {metric_type: 0}), False
    found = []
    while not is_last:  # on a Valkey, other tests have published as well
        page = await history.since(position)
        found += [json.loads(metric.body) for batch in page.batches for metric in batch.metrics]
        position, is_last = page.position, page.is_last
    return found


async def numbers():
    return [body["data"]["n"] for body in await published()]


def errors(response):
    return [(error["index"], error["path"], error["code"]) for error in response.json()["errors"]]


def refused():
    return dict(get_runtime().telemetry.ingest_requests_refused)


# --- bodies ---


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (item(1), "application/json"),
        ([item(1)], "application/json; charset=utf-8"),
        ({"metrics": [item(1)]}, "application/json"),
        (json.dumps(item(1)).encode() + b"\r\n\n", "application/x-ndjson"),
    ],
    ids=["one", "list", "object of a list", "NDJSON"],
)
async def test_one_metric_in_every_form(numbering, body, kind):
    response = await numbering.post(body, kind=kind)
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    assert await published() == [
        {"metric_type": "system", "timestamp": "1970-01-01T00:00:01.500000Z", "source": "load", "data": {"n": 1}}
    ]


async def test_the_order_of_a_request_is_that_of_the_history(numbering):
    body = b"\n".join(json.dumps(item(number)).encode() for number in range(1000))
    response = await numbering.post(gzip.compress(body), kind="application/x-ndjson", content_encoding="gzip")
    assert response.json() == {"accepted": 1000}
    assert await numbers() == list(range(1000))
    assert get_runtime().telemetry.metrics_ingested >= 1000


async def test_a_timestamp_is_iso_8601_or_seconds_or_now(numbering):
    stamps = ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", 1769860800, None]
    before = timezone.now().isoformat()
    response = await numbering.post([item(1, timestamp=stamp) for stamp in stamps])
    assert response.status_code == 202
    *given, now = [body["timestamp"] for body in await published()]
    assert given == ["2026-01-31T12:00:00.000000Z"] * 3
    assert before[:19] <= now[:19] <= timezone.now().isoformat()[:19]


async def test_faults_name_item_and_path_and_the_others_are_published(numbering):
    bad = [
        [],
        {"data": {}},
        item(1, colour="red"),
        item(1, metric_type="sytem"),
        item(1, metric_type=["system"]),
        item(1, source="a\nb"),
        item(1, source=""),
        item(1, timestamp="yesterday"),
        item(1, timestamp=1769860800000),
        item(1, timestamp=True),
        item(1, data=[1]),
        item(1, data=None),
        item(1, metric_type="agent", data=[{"n": 1}]),
        item(1, metric_type="agent", data=[{"agent_id": "a\0b"}]),
        item(1, data={"a": [{"b": 10**30}]}),
        item(1, data={"a": "x" * 300_000}),
        item(1, data=json.loads('{"a":' * 21 + "1" + "}" * 21)),
    ]
    response = await numbering.post([item(0), *bad, item(2)])
    assert response.status_code == 207
    assert response.json()["accepted"] == 2
    assert await numbers() == [0, 2]
    assert errors(response) == [
        (1, "", "invalid_item"),
        (2, "metric_type", "invalid_item"),
        (3, "", "invalid_item"),
        (4, "metric_type", "unknown_metric_type"),
        (5, "metric_type", "unknown_metric_type"),
        (6, "source", "invalid_source"),
        (7, "source", "invalid_source"),
        (8, "timestamp", "invalid_timestamp"),
        (9, "timestamp", "invalid_timestamp"),
        (10, "timestamp", "invalid_timestamp"),
        (11, "data", "invalid_data"),
        (12, "data", "invalid_data"),
        (13, "data", "invalid_data"),
        (14, "data", "invalid_data"),
        (15, "data.a[0].b", "invalid_data"),
        (16, "data", "metric_too_big"),
        (17, "data" + ".a" * 20, "nested_too_deeply"),
    ]
    assert get_runtime().telemetry.ingest_metrics_refused["invalid_data"] == 5


async def test_a_line_that_is_no_json_is_its_own_fault(numbering):
    body = b'{"metric_type": \n' + json.dumps(item(1)).encode() + b"\n" + b"[" * 100_000
    response = await numbering.post(body, kind="application/x-ndjson")
    assert (response.status_code, response.json()["accepted"]) == (207, 1)
    assert errors(response) == [(0, "", "not_json"), (2, "", "not_json")]


async def test_when_all_are_wrong_it_is_422(numbering):
    response = await numbering.post([item(1, metric_type="nope")])
    assert (response.status_code, response.json()["accepted"]) == (422, 0)


@pytest.mark.parametrize(
    "body",
    [b" ", b"{", b"7", b'"text"', b"null", b"\xff", b"[" * 100_000, b'{"metrics": {}}', b'{"metrics": [], "a": 1}'],
    ids=repr,
)
async def test_what_is_no_document_is_400(numbering, body):
    response = await numbering.post(body)
    assert (response.status_code, response.json()["error"]) == (400, "not_a_document")
    assert refused() == {"not_a_document": 1}


async def test_only_these_content_types_and_encodings_are_read(numbering):
    for kind, headers in (
        ("text/plain", {}),
        ("application/x-www-form-urlencoded", {}),
        ("application/json", {"content_encoding": "br"}),
        ("application/json", {"content_encoding": "gzip, gzip"}),
    ):
        response = await numbering.post(item(1), kind=kind, **headers)
        assert (response.status_code, response.json()["error"]) == (415, "unsupported"), kind


async def test_refusals_are_counted_and_do_not_fill_the_log(numbering, caplog):
    for _ in range(3):
        await numbering.post(b"{")
    assert refused() == {"not_a_document": 3}
    assert caplog.records == []


# --- sizes ---


async def test_a_body_over_the_limit_is_413(numbering, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 300, "INGEST_MAX_METRICS": 2}
    assert (await numbering.post([item(1, data={"a": "x" * 300})])).status_code == 413
    assert (await numbering.post([item(1)] * 2)).status_code == 202
    assert (await numbering.post(b"[" + b"{}," * 2 + b"{}]")).status_code == 413
    assert (await numbering.post(b"{}\n" * 3, kind="application/x-ndjson")).status_code == 413
    assert refused() == {"too_large": 3}


async def test_a_bomb_is_unpacked_no_further_than_allowed(numbering):
    bomb = gzip.compress(b" " * 500_000_000, 9)
    assert len(bomb) < 1_000_000
    response = await numbering.post(bomb, content_encoding="gzip")
    assert (response.status_code, response.json()["error"]) == (413, "too_large")
    assert "4,000,000 bytes unpacked" in response.json()["message"]


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"[]")[:-4], gzip.compress(b"[]") * 2],
    ids=["none", "cut off", "two of them"],
)
async def test_what_is_no_gzip_is_400(numbering, body):
    response = await numbering.post(body, content_encoding="gzip")
    assert (response.status_code, response.json()["error"]) == (400, "not_a_document")


# --- who ---


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer", "Bearer nope", "Bearer mst_00000000_" + "0" * 64])
async def test_without_a_valid_token_it_is_401(numbering, header):
    response = await numbering.post(item(1), authorization=header)
    assert (response.status_code, response.json()["error"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"
    assert await published() == []


async def test_a_cookie_opens_nothing(numbering, admin_user):
    await numbering.client.aforce_login(admin_user)
    assert (await numbering.post(item(1), authorization="")).status_code == 401


async def test_a_token_for_subscribing_is_403(numbering):
    await numbering.token(name="viewer", scopes=["subscribe"])
    response = await numbering.post(item(1))
    assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    assert "publish" in response["WWW-Authenticate"]


async def test_expired_and_revoked_tokens_are_401(numbering, monkeypatch):
    await numbering.token(name="old", expires_at=timezone.now() - timedelta(seconds=1))
    assert (await numbering.post(item(1))).json()["message"] == "the token has expired"
    row = await numbering.token(name="revoked")
    assert (await numbering.post(item(1))).status_code == 202
    await sync_to_async(row.revoke)()
    later = publishers.time.monotonic() + publishers.FRESH_SECONDS
    monkeypatch.setattr(publishers.time, "monotonic", lambda: later)
    assert (await numbering.post(item(2))).json()["message"] == "the token has been revoked"
    assert await numbers() == [1]


def test_a_revocation_takes_effect_within_five_seconds():
    assert publishers.FRESH_SECONDS < 5


async def test_a_token_that_expires_while_it_is_remembered_is_401(numbering, monkeypatch):
    await numbering.token(name="short", expires_at=timezone.now() + timedelta(hours=1))
    assert (await numbering.post(item(1))).status_code == 202
    moment = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(publishers.timezone, "now", lambda: moment)
    assert (await numbering.post(item(1))).status_code == 401


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_405(numbering, method):
    response = await numbering.client.generic(method, PATH)
    assert (response.status_code, response["Allow"]) == (405, "POST")


async def test_a_use_is_noted(numbering):
    await numbering.post(item(1))
    await numbering.row.arefresh_from_db()
    assert numbering.row.last_used_at is not None


async def test_without_the_database_known_tokens_go_on(numbering, monkeypatch):
    assert (await numbering.post(item(1))).status_code == 202
    later = publishers.time.monotonic() + publishers.FRESH_SECONDS
    monkeypatch.setattr(publishers.time, "monotonic", lambda: later)
    monkeypatch.setattr(publishers, "_find", mock.AsyncMock(side_effect=DatabaseError("gone")))
    assert (await numbering.post(item(2))).status_code == 202
    response = await numbering.post(item(3), authorization="Bearer mst_00000000_0")
    assert (response.status_code, response["Retry-After"]) == (503, "5")


# --- what a token may publish ---


async def test_a_type_that_is_not_allowed_reads_like_one_that_does_not_exist(numbering):
    await numbering.token(name="narrow", metric_types=["system", "hero"])
    response = await numbering.post([item(1, metric_type=name) for name in ("agent", "nope", "stream")])
    assert [error["message"] for error in response.json()["errors"]] == [
        f"unknown metric type {name!r}; allowed: system, hero" for name in ("agent", "nope", "stream")
    ]


async def test_what_the_service_says_of_itself_has_to_be_named(numbering):
    assert (await numbering.post(item(1, metric_type="stream"))).status_code == 422
    await numbering.token(name="service", metric_types=["all", "stream"])
    assert (await numbering.post(item(1, metric_type="stream"))).status_code == 202


async def test_a_token_without_types_publishes_nothing(numbering):
    await numbering.token(name="none", metric_types=[])
    assert "allowed: none" in (await numbering.post(item(1))).json()["errors"][0]["message"]


async def test_sources_are_those_of_the_token(numbering):
    without = {key: value for key, value in ITEM.items() if key != "source"}
    await numbering.post(without)
    await numbering.token(name="one source", sources=["only"])
    await numbering.post(without)
    response = await numbering.post(ITEM)
    assert response.json()["errors"][0]["message"] == "source 'load' is not one of this token; allowed: only"
    await numbering.token(name="two sources", sources=["b", "a"])
    response = await numbering.post(without)
    assert response.json()["errors"][0]["message"] == "source is missing; allowed: a, b"
    assert errors(response) == [(0, "source", "unknown_source")]
    assert [body["source"] for body in await published()] == ["k6 in Oslo", "only"]


async def test_new_sources_and_agents_are_limited_and_kept(numbering, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_SOURCES": 2, "INGEST_MAX_AGENTS": 3}
    await stop_runtime()
    agents = [{"metric_type": "agent", "data": [{"agent_id": name} for name in names]} for names in ("ab", "cd", "c")]
    response = await numbering.post([item(number, source=f"s{number}") for number in range(3)])
    assert errors(response) == [(2, "source", "too_many_sources")]
    response = await numbering.post([{**each, "source": "s0"} for each in agents])
    assert errors(response) == [(1, "data", "too_many_agents")]
    assert "at most 3 agents" in response.json()["errors"][0]["message"]
    assert (await numbering.post([item(7, source="s1")])).status_code == 202
    rows = await sync_to_async(list)(TokenName.objects.order_by("kind", "name").values_list("kind", "name"))
    assert rows == [("agent", "a"), ("agent", "b"), ("agent", "c"), ("source", "s0"), ("source", "s1")]
    assert get_runtime().telemetry.ingest_metrics_refused == {"too_many_sources": 1, "too_many_agents": 1}


async def test_known_names_ask_the_database_nothing(numbering, monkeypatch):
    await numbering.post([item(1), {"metric_type": "agent", "data": {"agent_id": "a"}, "source": "load"}])
    never = mock.AsyncMock(side_effect=AssertionError("asked"))
    monkeypatch.setattr(publishers, "_find", never)
    monkeypatch.setattr(publishers, "_claim", never)
    for _ in range(3):
        response = await numbering.post(
            [item(1), {"metric_type": "agent", "data": {"agent_id": "a"}, "source": "load"}]
        )
        assert response.status_code == 202


async def test_who_invents_names_is_not_looked_up_each_time(numbering, settings, monkeypatch):
    settings.METRICS_STREAM = {"INGEST_MAX_SOURCES": 1}
    await stop_runtime()
    await numbering.post([item(1), item(1, source="second")])
    monkeypatch.setattr(publishers, "_claim", mock.AsyncMock(side_effect=AssertionError("asked")))
    assert (await numbering.post([item(1, source="third")])).status_code == 422


# --- how much ---


async def test_too_many_requests_and_metrics_are_429(numbering, settings):
    settings.METRICS_STREAM = {"INGEST_REQUESTS_PER_SECOND": 0.5, "INGEST_METRICS_PER_SECOND": 0.2}
    await stop_runtime()
    assert (await numbering.post([item(1)] * 2)).status_code == 202
    response = await numbering.post([item(2)])
    assert (response.status_code, response.json()["error"]) == (429, "too_many_metrics")
    assert 1 <= int(response["Retry-After"]) <= 5
    for _ in range(3):
        await numbering.post([])
    response = await numbering.post([])
    assert (response.status_code, response.json()["error"]) == (429, "too_many_requests")
    assert 1 <= int(response["Retry-After"]) <= 2
    assert await numbers() == [1, 1]


async def test_guessing_is_limited_and_does_not_keep_others_out(numbering, settings):
    settings.METRICS_STREAM = {"INGEST_GUESSES_PER_MINUTE": 3}
    await stop_runtime()
    assert (await numbering.post(item(1))).status_code == 202
    answers = [await numbering.post(item(2), authorization=f"Bearer mst_{n:08}_0") for n in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert int(answers[-1]["Retry-After"]) <= 20
    assert (await numbering.post(item(3))).status_code == 202


# --- once, and not at all ---


async def test_the_same_key_publishes_nothing_twice(numbering):
    body = [item(number) for number in range(3)] + [item(3, metric_type="hero")]
    first = await numbering.post(body, idempotency_key="batch-1")
    again = await numbering.post(body, idempotency_key="batch-1")
    other = await numbering.post(body, idempotency_key="batch-2")
    assert [answer.json() for answer in (first, again, other)] == [
        {"accepted": 4},
        {"accepted": 4, "repeated": True},
        {"accepted": 4},
    ]
    assert await numbers() == [0, 1, 2] * 2
    assert len(await published("hero")) == 2


async def test_the_key_of_another_token_is_another_key(numbering):
    await numbering.post(item(1), idempotency_key="1")
    await numbering.token(name="other")
    assert (await numbering.post(item(1), idempotency_key="1")).json() == {"accepted": 1}
    assert await numbers() == [1, 1]


@pytest.mark.valkey
async def test_another_server_process_publishes_nothing_twice_either(valkey_layer, numbering):
    body = [item(number, source="one of several") for number in range(600)]
    await numbering.post(body, idempotency_key="once")
    get_runtime().owned.clear()  # as if it had never heard of it
    assert (await numbering.post(body, idempotency_key="once")).json() == {"accepted": 600}
    # Other tests have published on the same Valkey.
    own = [metric["data"]["n"] for metric in await published() if metric["source"] == "one of several"]
    assert own == list(range(600))


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_a_key_that_is_none_is_400(numbering, key):
    response = await numbering.post(item(1), idempotency_key=key)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_key")


async def test_what_is_not_in_the_history_is_not_accepted(numbering, monkeypatch):
    monkeypatch.setattr(Bus, "_send", mock.AsyncMock(side_effect=BusError("the channel layer is away")))
    response = await numbering.post([item(1)])
    assert (response.status_code, response["Retry-After"]) == (503, "2")
    assert response.json() == {"error": "unavailable", "message": "the channel layer is away", "accepted": 0}


async def test_what_is_half_done_is_said_and_the_same_key_completes_it(numbering, monkeypatch):
    send = Bus._send

    async def fail_for_hero(self, publication):
        if publication.metric_type == "hero":
            raise BusError("the channel layer is away")
        await send(self, publication)

    monkeypatch.setattr(Bus, "_send", fail_for_hero)
    body = [item(0, metric_type="hero"), item(1), item(2, metric_type="hero"), item(3)]
    response = await numbering.post(list(reversed(body)), idempotency_key="half")
    assert response.json()["accepted"] == 2
    assert response.json()["unpublished"] == [1, 3]
    monkeypatch.setattr(Bus, "_send", send)
    response = await numbering.post(list(reversed(body)), idempotency_key="half")
    assert (response.status_code, response.json()) == (202, {"accepted": 4})
    assert await numbers() == [3, 1]
    assert len(await published("hero")) == 2


# --- below Django ---


class Connection:
    """An ASGI connection that sends a body in parts, as a server would hand it over."""

    def __init__(self, *parts, then=None):
        self.messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        self.then = then
        self.sent = []

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        return await self.then()

    async def send(self, message):
        self.sent.append(message)


async def reading(scope, receive, send):
    """Read a body to its end, as Django does before anything else."""
    while (message := await receive())["type"] == "http.request":
        if not message["more_body"]:
            await send({"type": "read"})
            return


async def test_a_body_that_is_too_large_is_answered_before_its_end(numbering, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 10}
    connection = Connection(b"123456", b"789012", b"never read")
    await http_entrance.with_bounded_bodies(reading)({"path": PATH}, connection.receive, connection.send)
    start, body = connection.sent
    assert (start["status"], json.loads(body["body"])["error"]) == (413, "too_large")
    assert len(connection.messages) == 1
    assert refused() == {"too_large": 1}


async def test_a_body_that_never_ends_is_answered(numbering, monkeypatch):
    monkeypatch.setattr(http_entrance, "BODY_SECONDS", 0.01)
    connection = Connection(b"{", then=lambda: http_entrance.asyncio.Event().wait())
    await http_entrance.with_bounded_bodies(reading)({"path": PATH}, connection.receive, connection.send)
    assert connection.sent[0]["status"] == 408


async def test_other_addresses_are_left_alone(numbering, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 1}
    connection = Connection()
    connection.messages = [{"type": "http.request", "body": b"123", "more_body": False}]
    await http_entrance.with_bounded_bodies(reading)({"path": "/admin/"}, connection.receive, connection.send)
    assert connection.sent == [{"type": "read"}]
