"""Programs that publish: their tokens, metric types, sources, agents and rates."""

from datetime import timedelta
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.utils import timezone

from metrics_stream.api import programs
from metrics_stream.core.formats.native import HOW_TO_CREATE
from metrics_stream.models import TokenName
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.api import ITEM, errors, item, numbers, published

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer", "Bearer nope", "Bearer mst_00000000_" + "0" * 64])
async def test_without_a_valid_token_it_is_401(publisher, header):
    response = await publisher.publish(item(1), authorization=header)
    assert (response.status_code, response.json()["error"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"] == "Bearer"
    assert await published() == []


async def test_a_cookie_gives_no_access(publisher, admin_user):
    await publisher.client.aforce_login(admin_user)
    assert (await publisher.publish(item(1), authorization="")).status_code == 401


async def test_a_token_for_subscribing_is_403(publisher):
    await publisher.token(name="viewer", scopes=["subscribe"])
    response = await publisher.publish(item(1))
    assert (response.status_code, response.json()["error"]) == (403, "forbidden")
    assert "publish" in response["WWW-Authenticate"]


async def test_expired_and_revoked_tokens_are_401(publisher, monkeypatch):
    await publisher.token(name="old", expires_at=timezone.now() - timedelta(seconds=1))
    assert (await publisher.publish(item(1))).json()["message"] == "the token has expired"
    row = await publisher.token(name="revoked")
    assert (await publisher.publish(item(1))).status_code == 202
    await sync_to_async(row.revoke)()
    later = programs.time.monotonic() + programs.FRESH_SECONDS
    monkeypatch.setattr(programs.time, "monotonic", lambda: later)
    assert (await publisher.publish(item(2))).json()["message"] == "the token has been revoked"
    assert await numbers() == [1]


def test_a_revocation_takes_effect_within_five_seconds():
    assert programs.FRESH_SECONDS < 5


async def test_a_token_that_expires_while_it_is_remembered_is_401(publisher, monkeypatch):
    await publisher.token(name="short", expires_at=timezone.now() + timedelta(hours=1))
    assert (await publisher.publish(item(1))).status_code == 202
    moment = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(programs.timezone, "now", lambda: moment)
    assert (await publisher.publish(item(1))).status_code == 401


async def test_the_use_of_a_token_is_stored(publisher):
    await publisher.publish(item(1))
    await publisher.row.arefresh_from_db()
    assert publisher.row.last_used_at is not None


async def test_known_tokens_work_without_the_database(publisher, monkeypatch):
    assert (await publisher.publish(item(1))).status_code == 202
    later = programs.time.monotonic() + programs.FRESH_SECONDS
    monkeypatch.setattr(programs.time, "monotonic", lambda: later)
    monkeypatch.setattr(programs, "_find", mock.AsyncMock(side_effect=DatabaseError("gone")))
    assert (await publisher.publish(item(2))).status_code == 202
    response = await publisher.publish(item(3), authorization="Bearer mst_00000000_0")
    assert (response.status_code, response["Retry-After"]) == (503, "5")


async def test_a_forbidden_type_looks_like_an_unknown_one(publisher):
    await publisher.token(name="narrow", metric_types=["system", "hero"])
    response = await publisher.publish([item(1, metric_type=name) for name in ("agent", "nope", "stream")])
    assert [error["message"] for error in response.json()["errors"]] == [
        f"unknown metric type {name!r}; allowed: system, hero. {HOW_TO_CREATE}" for name in ("agent", "nope", "stream")
    ]


async def test_metrics_of_the_service_must_be_listed_by_name(publisher):
    assert (await publisher.publish(item(1, metric_type="stream"))).status_code == 422
    await publisher.token(name="service", metric_types=["all", "stream"])
    assert (await publisher.publish(item(1, metric_type="stream"))).status_code == 202


async def test_a_token_without_types_publishes_nothing(publisher):
    await publisher.token(name="none", metric_types=[])
    assert "allowed: none" in (await publisher.publish(item(1))).json()["errors"][0]["message"]


async def test_sources_are_those_of_the_token(publisher):
    without = {key: value for key, value in ITEM.items() if key != "source"}
    await publisher.publish(without)
    await publisher.token(name="one source", sources=["only"])
    await publisher.publish(without)
    response = await publisher.publish(ITEM)
    assert response.json()["errors"][0]["message"] == "source 'load' is not one of this token; allowed: only"
    await publisher.token(name="two sources", sources=["b", "a"])
    response = await publisher.publish(without)
    assert response.json()["errors"][0]["message"] == "source is missing; allowed: a, b"
    assert errors(response) == [(0, "source", "unknown_source")]
    assert [body["source"] for body in await published()] == ["k6 in Oslo", "only"]


async def test_new_sources_and_agents_are_limited_and_kept(publisher, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_SOURCES": 2, "INGEST_MAX_AGENTS": 3}
    await stop_runtime()
    agents = [{"metric_type": "agent", "data": [{"agent_id": name} for name in names]} for names in ("ab", "cd", "c")]
    response = await publisher.publish([item(number, source=f"s{number}") for number in range(3)])
    assert errors(response) == [(2, "source", "too_many_sources")]
    response = await publisher.publish([{**each, "source": "s0"} for each in agents])
    assert errors(response) == [(1, "data", "too_many_agents")]
    assert "at most 3 agents" in response.json()["errors"][0]["message"]
    assert (await publisher.publish([item(7, source="s1")])).status_code == 202
    rows = await sync_to_async(list)(TokenName.objects.order_by("kind", "name").values_list("kind", "name"))
    assert rows == [("agent", "a"), ("agent", "b"), ("agent", "c"), ("source", "s0"), ("source", "s1")]
    assert get_runtime().telemetry.ingest_metrics_refused == {"too_many_sources": 1, "too_many_agents": 1}


async def test_known_names_need_no_query(publisher, monkeypatch):
    await publisher.publish([item(1), {"metric_type": "agent", "data": {"agent_id": "a"}, "source": "load"}])
    never = mock.AsyncMock(side_effect=AssertionError("asked"))
    monkeypatch.setattr(programs, "_find", never)
    monkeypatch.setattr(programs, "_claim", never)
    for _ in range(3):
        response = await publisher.publish(
            [item(1), {"metric_type": "agent", "data": {"agent_id": "a"}, "source": "load"}]
        )
        assert response.status_code == 202


async def test_names_past_the_limit_do_not_cause_a_query_each_time(publisher, settings, monkeypatch):
    settings.METRICS_STREAM = {"INGEST_MAX_SOURCES": 1}
    await stop_runtime()
    await publisher.publish([item(1), item(1, source="second")])
    monkeypatch.setattr(programs, "_claim", mock.AsyncMock(side_effect=AssertionError("asked")))
    assert (await publisher.publish([item(1, source="third")])).status_code == 422


async def test_too_many_requests_and_metrics_are_429(publisher, settings):
    settings.METRICS_STREAM = {"INGEST_REQUESTS_PER_SECOND": 0.5, "INGEST_METRICS_PER_SECOND": 0.2}
    await stop_runtime()
    assert (await publisher.publish([item(1)] * 2)).status_code == 202
    response = await publisher.publish([item(2)])
    assert (response.status_code, response.json()["error"]) == (429, "too_many_metrics")
    assert 1 <= int(response["Retry-After"]) <= 5
    for _ in range(3):
        await publisher.publish([])
    response = await publisher.publish([])
    assert (response.status_code, response.json()["error"]) == (429, "too_many_requests")
    assert 1 <= int(response["Retry-After"]) <= 2
    assert await numbers() == [1, 1]


async def test_guessing_is_limited_and_does_not_block_others(publisher, settings):
    settings.METRICS_STREAM = {"INGEST_GUESSES_PER_MINUTE": 3}
    await stop_runtime()
    assert (await publisher.publish(item(1))).status_code == 202
    answers = [await publisher.publish(item(2), authorization=f"Bearer mst_{n:08}_0") for n in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert int(answers[-1]["Retry-After"]) <= 20
    assert (await publisher.publish(item(3))).status_code == 202


async def test_a_metric_has_only_so_many_numbers(publisher, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_FIELDS": 3}
    few, many = ({f"f{n}": n for n in range(count)} for count in (3, 4))
    agents = [{"agent_id": f"a{n}", **few} for n in range(3)]
    response = await publisher.publish(
        [
            item(0, data={**few, "text": "x" * 50, "empty": None}),
            item(1, data=many),
            item(2, data={"a": few, "b": 1}),
            {**item(3), "metric_type": "agent", "data": agents},
            {**item(4), "metric_type": "agent", "data": [*agents, {"agent_id": "a9", **many}]},
        ]
    )
    assert errors(response) == [(index, "data", "too_many_fields") for index in (1, 2, 4)]
    assert "has 4 numbers; allowed: at most 3" in response.json()["errors"][0]["message"]
