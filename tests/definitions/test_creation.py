"""Metric types that come into being by a first publication: who may create them, and how many."""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from metrics_stream.broadcast import Broadcaster, broadcast
from metrics_stream.bus.bus import declare_server
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import MetricError
from metrics_stream.definitions import creation, lookup
from metrics_stream.models import MetricTypeDeclaration
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.api import Program, errors, published
from tests.support.definitions import forget_definitions

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def creator(async_client):
    """A program that may create types."""
    declare_server()
    made = Program(async_client, "publish", "types")
    await made.token()
    yield made
    await stop_runtime()


@sync_to_async
def declared():
    return {item.slug: item.created_by_token for item in MetricTypeDeclaration.objects.select_related()}


def queue(metric_type="queue", **data):
    return {"metric_type": metric_type, "source": "load", "data": data or {"depth": 3}}


# --- over HTTP ---


async def test_a_token_with_the_scope_creates_a_type_by_publishing_it(creator):
    response = await creator.publish([queue(), queue(depth=4)])
    assert (response.status_code, response.json()) == (202, {"accepted": 2})
    assert [body["data"] for body in await published("queue")] == [{"depth": 3}, {"depth": 4}]
    assert await declared() == {"queue": creator.row}
    assert "queue" in get_settings().catalogue().types
    assert (await creator.publish(queue())).status_code == 202


def rows(*names, key=("queue",), **changes):
    return {**queue(), "key": list(key), "data": [{"queue": name, "depth": 1} for name in names], **changes}


async def test_rows_come_with_their_key(creator):
    response = await creator.publish([rows("mail", "print"), rows("fax")])
    assert response.json() == {"accepted": 2}
    assert get_settings().catalogue().types["queue"].key == ("queue",)
    assert [body["data"] for body in await published("queue")] == [
        [{"queue": "mail", "depth": 1}, {"queue": "print", "depth": 1}],
        [{"queue": "fax", "depth": 1}],
    ]
    assert errors(await creator.publish(queue())) == [(0, "data[0].queue", "invalid_data")]


async def test_a_new_type_has_one_key(creator):
    response = await creator.publish([rows("mail"), queue(), rows("fax", key=["queue", "depth"])])
    assert response.json()["accepted"] == 1
    assert errors(response) == [(1, "key", "invalid_item"), (2, "key", "invalid_item")]


@pytest.mark.parametrize("key", [["Big"], ["agent_id"], ["queue", "queue"], "queue", [1], list("abcdefg")], ids=str)
async def test_what_is_no_key_creates_nothing(creator, key):
    assert errors(await creator.publish({**rows("mail"), "key": key})) == [(0, "key", "invalid_item")]
    assert await declared() == {}


async def test_rows_without_a_key_are_refused(creator):
    assert errors(await creator.publish({**queue(), "data": [{"queue": "mail"}]})) == [(0, "data", "invalid_data")]
    assert await declared() == {}


async def test_a_token_without_the_scope_is_told_how_to_get_it(creator):
    await creator.token(name="plain", scopes=["publish"])
    response = await creator.publish([queue(), queue("system")])
    assert (response.status_code, response.json()["accepted"]) == (207, 1)
    [error] = response.json()["errors"]
    assert (error["index"], error["path"], error["code"]) == (0, "metric_type", "unknown_metric_type")
    assert "An admin can declare it" in error["message"]
    assert "`types`" in error["message"]
    assert await declared() == {}


async def test_a_token_of_some_types_creates_none(creator):
    await creator.token(name="some", metric_types=["system"])
    assert errors(await creator.publish(queue())) == [(0, "metric_type", "unknown_metric_type")]
    assert await declared() == {}


async def test_a_token_creates_so_many_types_and_no_more(creator, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_TYPES": 2}
    response = await creator.publish([queue("one"), queue("two"), queue("three"), queue("one")])
    assert response.json()["accepted"] == 3
    [error] = response.json()["errors"]
    assert (error["index"], error["code"]) == (2, "unknown_metric_type")
    assert "at most 2" in error["message"]
    assert set(await declared()) == {"one", "two"}


async def test_an_installation_has_so_many_declared_types_and_no_more(creator, monkeypatch):
    monkeypatch.setattr(creation, "MAX_TYPES", 1)
    response = await creator.publish([queue("one"), queue("two")])
    assert [item["index"] for item in response.json()["errors"]] == [1]


@pytest.mark.parametrize("slug", ["All", "a b", "9lives", "x" * 41, "", "sytem", "agents", None, 5])
async def test_what_is_no_slug_or_a_misspelt_one_creates_nothing(creator, slug):
    assert errors(await creator.publish(queue(slug))) == [(0, "metric_type", "unknown_metric_type")]
    assert await declared() == {}


async def test_data_that_cannot_be_published_creates_nothing(creator):
    assert errors(await creator.publish({**queue(), "data": "x"})) == [(0, "data", "invalid_data")]
    assert await declared() == {}


async def test_two_requests_at_once_create_one_type(creator):
    responses = await asyncio.gather(*(creator.publish(queue()) for _ in range(4)))
    assert [response.status_code for response in responses] == [202] * 4
    assert set(await declared()) == {"queue"}


# --- over the channel layer ---


def test_a_broadcaster_creates_a_type():
    declare_server()
    with Broadcaster(source="a") as stream:
        stream.broadcast("queue", {"depth": 3})
        assert stream.flush()
    assert set(declared_now()) == {"queue"}


def declared_now():
    return list(MetricTypeDeclaration.objects.values_list("slug", flat=True))


async def test_an_asynchronous_function_creates_a_type():
    declare_server()
    await broadcast("queue", {"depth": 3}, source="a")
    assert set(await declared()) == {"queue"}
    assert [body["data"] for body in await published("queue")] == [{"depth": 3}]


async def test_a_type_that_was_declared_meanwhile_is_found_and_its_key_with_it():
    declare_server()
    await sync_to_async(MetricTypeDeclaration.objects.create)(slug="queue", key=["queue"])
    await sync_to_async(forget_definitions)()
    await broadcast("queue", [{"queue": "mail", "depth": 3}], source="a")
    assert [body["data"] for body in await published("queue")] == [[{"queue": "mail", "depth": 3}]]


def test_a_program_creates_so_many_types_and_no_more(monkeypatch):
    declare_server()
    monkeypatch.setattr(lookup, "MAX_CREATED", 1)
    stream = Broadcaster(source="a")
    stream.broadcast("one", {"n": 1})
    with pytest.raises(MetricError, match="has created 1 metric types, which is the limit"):
        stream.broadcast("two", {"n": 1})
    stream.close()


def test_a_misspelt_type_is_none():
    declare_server()
    stream = Broadcaster(source="a")
    with pytest.raises(MetricError, match="did you mean system"):
        stream.broadcast("sytem", {"n": 1})
    stream.close()
    assert declared_now() == []
