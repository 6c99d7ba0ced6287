"""What a socket asks of a client, and when it lets it go. Tokens, sessions and policies have tests of their own."""

import pytest

from metrics_stream.consumers import limits
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.consumers.test_metrics import Client, connected


@pytest.fixture(autouse=True)
async def stopped_runtime():
    yield
    await stop_runtime()


async def test_the_welcome_says_what_a_client_needs_to_know():
    async with connected() as client:
        welcome = client.welcome
    assert welcome.pop("client_id")
    assert welcome.pop("timestamp").endswith("Z")
    assert welcome.pop("message")
    assert welcome == {
        "type": "welcome",
        "protocol": 1,
        "metric_types": ["system", "agent", "business", "hero", "presentation", "stream"],
        "subscription": {
            "metric_types": [],
            "filters": {},
            "interval_seconds": 1.0,
            "batch_size": 10,
            "batch_timeout_seconds": 0.5,
            "mode": "all",
            "preset": None,
        },
        "limits": {
            "message_bytes": 65536,
            "messages_per_second": 10.0,
            "message_burst": 20,
            "errors_per_minute": 5,
            "filter_terms": 1000,
            "interval_seconds": [0.1, 60.0],
            "batch_size": [1, 1000],
            "batch_timeout_seconds": [0.0, 60.0],
            "backfill_seconds": [1.0, 86400.0],
            "max_points": [10, 2000],
            "speed": [0.25, 60.0],
            "history_seconds": 900.0,
        },
    }


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


async def test_over_capacity_is_said_and_closed_with_4013(settings):
    settings.METRICS_STREAM = {"MAX_CLIENTS": 1}
    async with connected() as first:
        second = Client(stream_application(None), "/ws/metrics/")
        await second.connect(timeout=5)
        assert (await second.hear())["code"] == "over_capacity"
        assert await second.closed() == 4013
        assert (await first.ask({"type": "ping"}))["type"] == "pong"
        await second.disconnect()


async def test_a_client_that_leaves_is_forgotten():
    async with connected() as client:
        await client.ask({"type": "subscribe"})
        hub = get_runtime().hub
        assert len(hub.clients) == 1
    assert hub.clients == {}
    assert hub.interest == frozenset()


async def test_a_stop_of_the_server_closes_with_4001():
    async with connected() as client:
        await client.ask({"type": "subscribe"})
        await stop_runtime()
        assert (await client.hear())["code"] == "going_away"
        assert await client.closed() == 4001
