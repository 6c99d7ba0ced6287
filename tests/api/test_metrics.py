"""`POST /api/metrics/`: how metrics are read, what is answered, and that nothing is published twice."""

import gzip
import json
from unittest import mock

import pytest
from django.utils import timezone

from metrics_stream.api.programs import publishing_programs_of
from metrics_stream.bus.bus import Bus
from metrics_stream.core.errors import BusError
from metrics_stream.core.metrics.budget import RowBudget
from metrics_stream.runtime.runtime import get_runtime
from tests.support.api import errors, item, numbers, published

pytestmark = pytest.mark.django_db(transaction=True)


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
async def test_one_metric_in_every_form(publisher, body, kind):
    response = await publisher.publish(body, kind=kind)
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    assert await published() == [
        {"metric_type": "system", "timestamp": "2023-11-14T22:13:21.500000Z", "source": "load", "data": {"n": 1}}
    ]


async def test_the_order_of_a_request_is_that_of_the_history(publisher):
    body = b"\n".join(json.dumps(item(number)).encode() for number in range(1000))
    response = await publisher.publish(gzip.compress(body), kind="application/x-ndjson", content_encoding="gzip")
    assert response.json() == {"accepted": 1000}
    assert await numbers() == list(range(1000))
    assert get_runtime().telemetry.metrics_ingested >= 1000


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"metrics_program": "load-1:4711"}, "load-1:4711 (token k6 in Oslo)"),
        ({}, "127.0.0.1 (token k6 in Oslo)"),
        ({"metrics_program": "x" * 201}, "127.0.0.1 (token k6 in Oslo)"),
    ],
)
async def test_a_publication_names_its_program(publisher, monkeypatch, headers, origin):
    origins = []
    send = Bus.send

    async def keep(self, publication):
        if publication.owner:  # the process also publishes its own health
            origins.append(publication.origin)
        await send(self, publication)

    monkeypatch.setattr(Bus, "send", keep)
    await publisher.publish(item(1), **headers)
    await publisher.publish(item(2), idempotency_key="once", **headers)
    assert origins == [origin] * 2


async def test_a_timestamp_is_iso_8601_or_seconds_or_now(publisher):
    stamps = ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", 1769860800, 1769860800000, "1769860800", None]
    before = timezone.now().isoformat()
    response = await publisher.publish([item(1, timestamp=stamp) for stamp in stamps])
    assert response.status_code == 202
    *given, now = [body["timestamp"] for body in await published()]
    assert given == ["2026-01-31T12:00:00.000000Z"] * 5
    assert before[:19] <= now[:19] <= timezone.now().isoformat()[:19]


async def test_errors_name_index_and_path_and_valid_metrics_are_published(publisher):
    bad = [
        [],
        {"data": {}},
        item(1, colour="red"),
        item(1, metric_type="sytem"),
        item(1, metric_type=["system"]),
        item(1, source="a\nb"),
        item(1, source=""),
        item(1, timestamp="yesterday"),
        item(1, timestamp=-1),
        item(1, timestamp=True),
        item(1, data=[1]),
        item(1, data=None),
        item(1, metric_type="agent", data=[{"n": 1}]),
        item(1, metric_type="agent", data=[{"agent_id": "a\0b"}]),
        item(1, data={"a": [{"b": 10**30}]}),
        item(1, data={"a": "x" * 300_000}),
        item(1, data=json.loads('{"a":' * 21 + "1" + "}" * 21)),
    ]
    response = await publisher.publish([item(0), *bad, item(2)])
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
        (13, "data[0].agent_id", "invalid_data"),
        (14, "data[0].agent_id", "invalid_data"),
        (15, "data.a[0].b", "invalid_data"),
        (16, "data", "metric_too_big"),
        (17, "data" + ".a" * 20, "nested_too_deeply"),
    ]
    assert get_runtime().telemetry.ingest_metrics_refused["invalid_data"] == 5


async def test_a_line_that_is_not_json_is_the_only_one_refused(publisher):
    body = b'{"metric_type": \n' + json.dumps(item(1)).encode() + b"\n" + b"[" * 100_000
    response = await publisher.publish(body, kind="application/x-ndjson")
    assert (response.status_code, response.json()["accepted"]) == (207, 1)
    assert errors(response) == [(0, "", "not_json"), (2, "", "not_json")]


async def test_a_request_without_a_valid_metric_is_422(publisher):
    response = await publisher.publish([item(1, metric_type="nope")])
    assert (response.status_code, response.json()["accepted"]) == (422, 0)


async def test_the_same_key_publishes_nothing_twice(publisher):
    body = [item(number) for number in range(3)] + [item(3, metric_type="hero")]
    first = await publisher.publish(body, idempotency_key="batch-1")
    again = await publisher.publish(body, idempotency_key="batch-1")
    other = await publisher.publish(body, idempotency_key="batch-2")
    assert [answer.json() for answer in (first, again, other)] == [
        {"accepted": 4},
        {"accepted": 4, "repeated": True},
        {"accepted": 4},
    ]
    assert await numbers() == [0, 1, 2] * 2
    assert len(await published("hero")) == 2


async def test_the_key_of_another_token_is_another_key(publisher):
    await publisher.publish(item(1), idempotency_key="1")
    await publisher.token(name="other")
    assert (await publisher.publish(item(1), idempotency_key="1")).json() == {"accepted": 1}
    assert await numbers() == [1, 1]


@pytest.mark.valkey
async def test_another_server_process_publishes_nothing_twice_either(valkey_layer, publisher):
    body = [item(number, source="one of several") for number in range(600)]
    await publisher.publish(body, idempotency_key="once")
    get_runtime().owned.clear()  # Like a process that has not seen the key.
    assert (await publisher.publish(body, idempotency_key="once")).json() == {"accepted": 600}
    # Other tests have published on the same Valkey.
    own = [metric["data"]["n"] for metric in await published() if metric["source"] == "one of several"]
    assert own == list(range(600))


async def test_metrics_that_are_not_in_the_history_are_not_accepted(publisher, monkeypatch):
    monkeypatch.setattr(Bus, "_send", mock.AsyncMock(side_effect=BusError("the channel layer is away")))
    response = await publisher.publish([item(1)])
    assert (response.status_code, response["Retry-After"]) == (503, "2")
    assert response.json() == {"error": "unavailable", "message": "the channel layer is away", "accepted": 0}


async def test_a_partial_failure_is_answered_and_the_same_key_completes_it(publisher, monkeypatch):
    send = Bus._send

    async def fail_for_hero(self, publication):
        if publication.metric_type == "hero":
            raise BusError("the channel layer is away")
        await send(self, publication)

    monkeypatch.setattr(Bus, "_send", fail_for_hero)
    body = [item(0, metric_type="hero"), item(1), item(2, metric_type="hero"), item(3)]
    response = await publisher.publish(list(reversed(body)), idempotency_key="half")
    assert response.json()["accepted"] == 2
    assert response.json()["unpublished"] == [1, 3]
    monkeypatch.setattr(Bus, "_send", send)
    response = await publisher.publish(list(reversed(body)), idempotency_key="half")
    assert (response.status_code, response.json()) == (202, {"accepted": 4})
    assert await numbers() == [3, 1]
    assert len(await published("hero")) == 2


async def test_rows_past_the_budget_are_folded_and_the_answer_says_so(publisher, monkeypatch, caplog):
    made = publishing_programs_of(get_runtime())
    monkeypatch.setattr(
        "metrics_stream.api.programs.RowBudget", lambda clock: RowBudget(clock, source_rows=2), raising=True
    )
    rows = [{"name": f"/{number}", "method": "GET", "requests_total": 1} for number in range(5)]
    body = {"metric_type": "request", "source": "load", "data": rows, "key": ["name", "method", "scenario", "group"]}
    for _ in range(2):
        answer = await publisher.publish(body)
        [note] = answer.json()["notes"]
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
        assert note.startswith("3 more rows of request from load are in the row (other)")
    assert [row["name"] for row in (await published("request"))[0]["data"]] == ["/0", "/1", "(other)"]
    assert get_runtime().telemetry.rows_folded == 6
    assert caplog.text.count(note) == 1
    assert made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": ["name"]}, "`key` is"),
        ({"metric_type": "system", "data": {"n": 1}, "key": ["name"]}, "allowed for system: none"),
        ({"data": [{"name": "/"}]}, "`data[0].method` is missing"),
    ],
)
async def test_a_key_that_is_not_that_of_the_type_is_an_error(publisher, change, words):
    answer = await publisher.publish({"metric_type": "request", "data": [{"name": "/", "method": "GET"}], **change})
    assert answer.status_code == 422
    assert words in answer.json()["errors"][0]["message"]
