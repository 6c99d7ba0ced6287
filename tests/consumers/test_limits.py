"""How many places a client may take, and how many messages and errors it may send."""

import asyncio

import pytest
from django.test import TransactionTestCase, override_settings

from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.bus.bus import declare_server
from metrics_stream.consumers import limits
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import bearer, make_token, socket
from tests.support.clients import Client, connected


@pytest.fixture(autouse=True)
async def stopped_runtime():
    yield
    await stop_runtime()


async def test_the_fifth_error_within_a_minute_closes_with_4501():
    async with connected() as client:
        for _ in range(5):
            assert (await client.ask("rubbish"))["code"] == "not_json"
        assert (await client.hear())["code"] == "too_many_errors"
        assert await client.closed() == 4501


async def test_errors_that_are_far_apart_close_nothing(monkeypatch):
    monkeypatch.setattr(limits, "ERROR_WINDOW_SECONDS", 0.0)
    async with connected() as client:
        for _ in range(8):
            assert (await client.ask("rubbish"))["code"] == "not_json"


async def test_too_many_messages_close_with_4029(settings):
    settings.METRICS_STREAM = {"MESSAGE_BURST": 5, "MESSAGES_PER_SECOND": 0.001}
    async with connected() as client:
        for _ in range(5):
            assert (await client.ask({"type": "ping"}))["type"] == "pong"
        assert (await client.ask({"type": "ping"}))["code"] == "too_many_messages"
        assert await client.closed() == 4029


async def test_a_client_over_the_capacity_is_closed_with_4013(settings):
    settings.METRICS_STREAM = {"MAX_CLIENTS": 1}
    async with connected() as first:
        second = Client(stream_application(None), "/ws/metrics/")
        await second.connect(timeout=5)
        assert (await second.hear())["code"] == "over_capacity"
        assert await second.closed() == 4013
        assert (await first.ask({"type": "ping"}))["type"] == "pong"
        await second.disconnect()


@override_settings(ANONYMOUS_READ=False)
class PlaceTests(TransactionTestCase):
    """With a database, which only Django's own test cases clean up behind asynchronous code."""

    def setUp(self):
        declare_server()

    @override_settings(METRICS_STREAM={"MAX_CLIENTS_PER_USER": 2})
    async def test_the_places_of_a_user_or_token_are_limited(self):
        _, text = await make_token()
        _, other = await make_token(name="other")
        async with socket(bearer(text)) as one, socket(bearer(text)) as two:
            assert [(await each.hear())["type"] for each in (one, two)] == ["welcome"] * 2
            async with socket(bearer(text)) as three:
                assert await three.ends() == ("too_many_connections", 4013)
            async with socket(bearer(other)) as four:
                assert (await four.hear())["type"] == "welcome"
        async with socket(bearer(text)) as five:
            assert (await five.hear())["type"] == "welcome"
        assert get_runtime().telemetry.refused_clients
        await stop_runtime()

    @override_settings(METRICS_STREAM={"MAX_CLIENTS_PER_USER": 1})
    async def test_a_client_that_sends_another_token_takes_a_place_of_that_token(self):
        texts = [(await make_token(name=name))[1] for name in ("one", "two")]
        async with socket(bearer(texts[1])) as two:
            assert (await two.hear())["type"] == "welcome"
            async with socket(bearer(texts[0])) as one:
                assert (await one.hear())["type"] == "welcome"
                assert (await one.ask(type="authenticate", token=texts[0], ref="a"))["type"] == "welcome"
                await one.say(type="authenticate", token=texts[1])
                assert await one.ends() == ("too_many_connections", 4013)
        async with socket(bearer(texts[0])) as three:
            assert (await three.hear())["type"] == "welcome"
            await three.say(type="authenticate", token=texts[1])
            assert [(await three.hear())["type"] for _ in range(2)] == ["subscription_confirmed", "welcome"]
            async with socket(bearer(texts[0])) as four:
                assert (await four.hear())["type"] == "welcome"
        await stop_runtime()

    @override_settings(METRICS_STREAM={"MAX_CLIENTS_PER_ADDRESS": 1})
    async def test_the_places_of_an_address_are_limited_but_not_those_of_this_machine(self):
        async with socket() as one:
            await one.hear()
            async with socket() as two:
                assert await two.ends() == ("too_many_connections", 4013)
            async with socket(address="10.0.0.2") as three:
                assert (await three.hear())["type"] == "authentication_required"
        async with socket() as four:
            assert (await four.hear())["type"] == "authentication_required"
        async with socket(address="127.0.0.1") as five, socket(address="::1") as six:
            assert [(await each.hear())["type"] for each in (five, six)] == ["authentication_required"] * 2
        await stop_runtime()


@pytest.mark.django_db(transaction=True)
async def test_clients_of_a_token_share_what_messages_may_cost(settings):
    settings.ANONYMOUS_READ = False
    declare_server()
    settings.METRICS_STREAM = {"MESSAGE_COST_PER_SECOND": 0.001, "MESSAGE_COST_BURST": 58}
    (_, text), (_, other) = await make_token(), await make_token(name="other")
    names = {"filters": {"sources": [f"{number:0100}" for number in range(80)]}}
    async with socket(bearer(text)) as one, socket(bearer(text)) as two, socket(bearer(other)) as healthy:
        for client in (one, two, healthy):
            assert (await client.hear())["type"] == "welcome"
        assert (await one.ask(type="set_filters", **names))["type"] == "filters_updated"
        assert (await two.ask(type="set_filters", **names))["type"] == "filters_updated"
        await one.say(type="set_filters", **names)
        await one.say(type="set_filters", **names)
        replies = [await one.hear() for _ in range(2)]
        assert replies[-1]["code"] == "too_many_messages"
        assert await one.closed() == 4029
        assert (await healthy.ask(type="set_filters", **names))["type"] == "filters_updated"
        assert (await healthy.ask(type="ping"))["type"] == "pong"
    await stop_runtime()


class Places:
    """The clients of one token, and of nobody."""

    def __init__(self, runtime, *owners):
        monitor = access_monitor_of(runtime)
        self.limits = [limits.Limits(runtime, monitor) for _ in owners]
        for own, owner in zip(self.limits, owners, strict=True):
            own._user = owner


async def test_clients_of_one_owner_look_into_the_past_one_at_a_time_with_a_pause(monkeypatch):
    pauses = []
    loop = asyncio.get_running_loop()
    places = Places(get_runtime(), "user 1", "user 1", "user 2", None, None)
    own, second, other, nobody, nobody_too = places.limits
    monkeypatch.setattr(loop, "call_later", lambda delay, call: pauses.append((delay, call)))
    looking = []

    async def look(limits_of_client):
        async with limits_of_client.look_back():
            looking.append(limits_of_client)

    async with own.look_back(), other.look_back(), nobody.look_back(), nobody_too.look_back():
        waiting = asyncio.create_task(look(second))
        await asyncio.sleep(0)
        assert not looking
    await asyncio.sleep(0)
    # The next one waits until as much time has passed again.
    assert not looking
    assert len(pauses) == 2
    for delay, call in pauses:
        assert 0 <= delay <= limits.MAX_PAUSE_SECONDS
        call()
    monkeypatch.undo()
    await asyncio.wait_for(waiting, 5)
    assert looking == [second]
