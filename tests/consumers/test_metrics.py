"""The consumer through the real routing, over the in-memory layer."""

import json

import pytest

from metrics_stream.broadcast import broadcast, broadcast_agent_metrics, broadcast_system_metrics
from metrics_stream.consumers import metrics as consumers
from metrics_stream.core.metrics.catalogue import STREAM
from metrics_stream.runtime import statistics
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.clients import connected

FAST = '{"type":"set_update_interval","interval_seconds":0.1}'


@pytest.fixture(autouse=True)
async def stopped_runtime():
    yield
    await stop_runtime()


async def test_subscriptions_add_up_and_all_means_every_type():
    async with connected() as client:
        assert await client.ask({"type": "subscribe", "metric_types": ["hero", "system"]}) == {
            "type": "subscription_confirmed",
            "metric_types": ["system", "hero"],
        }
        assert (await client.ask({"type": "subscribe", "metric_types": ["agent"]}))["metric_types"] == [
            "system",
            "agent",
            "hero",
        ]
        assert (await client.ask({"type": "unsubscribe", "metric_types": ["hero"], "ref": "r"})) == {
            "type": "subscription_confirmed",
            "metric_types": ["system", "agent"],
            "ref": "r",
        }
        keys = {"name": ["/api/*", "/b"], "agent_id": ["a*"]}
        assert (await client.ask({"type": "set_filters", "filters": {"keys": keys}}))["filters"] == {
            "agent_ids": ["a*"],
            "keys": {"name": ["/api/*", "/b"]},
        }
        assert len((await client.ask({"type": "subscribe"}))["metric_types"]) == 7
        assert (await client.ask({"type": "unsubscribe", "metric_types": ["all"]}))["metric_types"] == []


async def test_the_health_of_the_stream_comes_to_clients_that_name_it(monkeypatch):
    monkeypatch.setattr(statistics, "SAMPLE_SECONDS", 0.02)
    async with connected() as client:
        await client.ask({"type": "set_update_interval", "interval_seconds": 0.1})
        answer = await client.ask({"type": "subscribe", "metric_types": ["all"]})
        assert "stream" not in answer["metric_types"]
        answer = await client.ask({"type": "subscribe", "metric_types": ["stream"]})
        assert answer["metric_types"][-1] == "stream"
        frame = await client.hear()
        [metric, *_] = frame["data"] if frame["type"] == "metric_batch" else [frame["data"]]
        assert metric["source"] == get_runtime().statistics.sample().process
        assert {field.name for field in STREAM.fields} == set(metric["data"])
        assert (metric["data"]["clients"], metric["data"]["views"]) == (1, 1)
        assert metric["data"]["status"] == "healthy"
        while (answer := await client.ask({"type": "unsubscribe", "metric_types": ["all"]}))["type"].startswith(
            "metric"
        ):
            pass
        assert answer["metric_types"] == []


async def test_what_is_published_after_the_confirmation_arrives():
    async with connected() as client:
        await client.ask({"type": "subscribe", "metric_types": ["system"]})
        await broadcast("system", {"throughput_tps": 950.5}, 1_700_000_001.0, source="host1")
        assert await client.hear() == {
            "type": "metric_update",
            "data": {
                "metric_type": "system",
                "timestamp": "2023-11-14T22:13:21.000000Z",
                "source": "host1",
                "data": {"throughput_tps": 950.5},
            },
        }


async def test_after_unsubscribing_nothing_arrives():
    async with connected() as client:
        await client.ask({"type": "subscribe", "metric_types": ["system", "hero"]})
        await client.ask({"type": "unsubscribe", "metric_types": ["system"]})
        await broadcast_system_metrics({"n": 1})
        await broadcast("hero", {"n": 2})
        frame = await client.hear()
        assert frame["data"]["metric_type"] == "hero"


async def test_a_client_of_the_original_protocol_works_unchanged():
    """The messages of the original's documentation, to the letter."""
    async with connected() as client:
        assert client.welcome["type"] == "welcome"
        confirmed = await client.ask({"type": "subscribe", "metric_types": ["system", "agent", "business"]})
        assert confirmed == {"type": "subscription_confirmed", "metric_types": ["system", "agent", "business"]}
        assert await client.ask({"type": "set_update_interval", "interval_seconds": 2}) == {
            "type": "update_interval_set",
            "interval_seconds": 2.0,
        }
        filters = {"agent_ids": ["agent_1", "agent_2"]}
        assert await client.ask({"type": "set_filters", "filters": filters}) == {
            "type": "filters_updated",
            "filters": filters,
        }
        await broadcast_agent_metrics([{"agent_id": f"agent_{n}", "status": "healthy"} for n in range(4)])
        frame = await client.hear()
        assert [agent["agent_id"] for agent in frame["data"]["data"]] == ["agent_1", "agent_2"]
        filters = {"fields": ["cpu_utilization", "error_rate", "throughput_tps"]}
        assert (await client.ask({"type": "set_filters", "filters": filters}))["filters"] == filters
        await client.ask({"type": "set_update_interval", "interval_seconds": 0.1})
        await broadcast_system_metrics({"throughput_tps": 1, "error_rate": 0.1, "queue_depth": 3})
        frame = await client.hear()
        assert frame["data"]["data"] == {"throughput_tps": 1, "error_rate": 0.1}
        pong = await client.ask({"type": "ping"})
        assert pong["type"] == "pong"
        assert pong["timestamp"].endswith("Z")


async def test_sources_are_filtered_and_empty_filters_clear():
    async with connected() as client:
        await client.ask(FAST)
        await client.ask({"type": "subscribe", "metric_types": ["system"]})
        assert (await client.ask({"type": "set_filters", "filters": {"sources": ["b", "a"]}}))["filters"] == {
            "sources": ["a", "b"]
        }
        await broadcast("system", {"n": 1}, source="c")
        await broadcast("system", {"n": 2}, source="a")
        assert (await client.hear())["data"]["data"] == {"n": 2}
        assert (await client.ask({"type": "set_filters", "filters": {}}))["filters"] == {}
        await broadcast("system", {"n": 3}, source="c")
        assert (await client.hear())["data"]["data"] == {"n": 3}


@pytest.mark.parametrize(("asked", "effective"), [(0, 0.1), (-5, 0.1), (61, 60.0), (1e308, 60.0), (0.25, 0.25)])
async def test_an_interval_out_of_range_is_clamped_and_answered(asked, effective):
    async with connected() as client:
        assert await client.ask({"type": "set_update_interval", "interval_seconds": asked}) == {
            "type": "update_interval_set",
            "interval_seconds": effective,
        }


async def test_batching_is_clamped_and_answered():
    async with connected() as client:
        message = {"type": "set_batching", "batch_size": 10**30, "batch_timeout_seconds": 100, "mode": "latest"}
        assert await client.ask(message) == {
            "type": "batching_set",
            "batch_size": 1000,
            "batch_timeout_seconds": 60.0,
            "mode": "latest",
        }
        assert await client.ask({"type": "set_batching", "batch_size": 0}) == {
            "type": "batching_set",
            "batch_size": 1,
            "batch_timeout_seconds": 60.0,
            "mode": "latest",
        }


async def test_mode_latest_sends_only_the_newest():
    async with connected() as client:
        await client.ask({"type": "set_batching", "mode": "latest"})
        await client.ask({"type": "subscribe", "metric_types": ["system"]})
        for number in range(5):
            await broadcast("system", {"n": number}, source="a")
        assert (await client.hear())["data"]["data"] == {"n": 4}


BAD = [
    ("nope", "not_json"),
    ('{"type":"ping"', "not_json"),
    ('{"type":"set_update_interval","interval_seconds":NaN}', "not_json"),
    ('{"a":' * 10_000, "not_json"),
    ("[" * 60_000, "invalid_message"),
    ("[]", "invalid_message"),
    ('{"type":"dance"}', "unknown_message_type"),
    ('{"type":"subscribe","metric_types":["sytem"]}', "unknown_metric_type"),
    ('{"type":"set_update_interval","interval_seconds":"1"}', "invalid_message"),
    ('{"type":"seek","to":null}', "invalid_message"),
    (json.dumps({"type": "set_filters", "filters": {"agent_ids": [str(n) for n in range(5000)]}}), "too_many_terms"),
]


@pytest.mark.parametrize(("text", "code"), BAD, ids=[text[:30] for text, _ in BAD])
async def test_bad_input_gets_an_error_and_harms_no_other_client(text, code):
    async with connected() as bystander, connected() as client:
        await bystander.ask({"type": "subscribe", "metric_types": ["system"]})
        answer = await client.ask(text)
        assert (answer["type"], answer["code"]) == ("error", code)
        assert answer["message"]
        assert (await client.ask({"type": "ping"}))["type"] == "pong"
        await broadcast_system_metrics({"n": 1})
        assert (await bystander.hear())["type"] == "metric_update"


async def test_what_is_ignored_is_told_after_the_reply_and_is_no_error():
    async with connected() as client:
        for ref in range(8):
            message = {"type": "subscribe", "metric_types": ["SYSTEM", "sytem"], "colour": "red", "ref": ref}
            assert await client.ask(message) == {
                "type": "subscription_confirmed",
                "metric_types": ["system"],
                "ref": ref,
            }
            told = await client.hear()
            assert (told["type"], told["ref"]) == ("ignored", ref)
            assert told["message"].startswith("unknown key 'colour'; allowed: type, ")
            assert "; unknown metric type 'sytem'; allowed: system, agent, " in told["message"]
        assert (await client.ask({"type": "ping"}))["type"] == "pong"


async def test_a_binary_message_gets_an_error():
    async with connected() as client:
        await client.send_to(bytes_data=b"\x00\x01")
        assert (await client.hear())["code"] == "binary"
        assert (await client.ask({"type": "ping"}))["type"] == "pong"


async def test_one_byte_too_many_closes_with_4509():
    async with connected() as client:
        padding = "x" * (65_536 - len('{"type":"ping","ref":""}'))
        answer = await client.ask(f'{{"type":"ping","ref":"{padding}"}}')
        assert answer["code"] == "invalid_message"  # 64 KiB are accepted, though not as a ref
        answer = await client.ask(f'{{"type":"ping","ref":"{padding}x"}}')
        assert answer["code"] == "message_too_big"
        assert "65537 bytes; allowed: 65536" in answer["message"]
        assert await client.closed() == 4509


async def test_bytes_are_counted_not_characters():
    async with connected() as client:
        assert (await client.ask('"' + "€" * 30_000 + '"'))["code"] == "message_too_big"
        assert await client.closed() == 4509


def test_each_client_message_has_a_handler():
    assert set(consumers._HANDLERS) == set(consumers.messages.CLIENT_MESSAGES)


async def test_a_fault_of_the_server_is_reported_and_the_connection_stays(monkeypatch, caplog):
    async def broken(self, message):
        raise ZeroDivisionError

    monkeypatch.setitem(consumers._HANDLERS, consumers.messages.Ping, broken)
    monkeypatch.setattr(consumers.logger, "propagate", True)
    monkeypatch.setattr(consumers.logging.getLogger("metrics_stream"), "propagate", True)
    async with connected() as client:
        assert await client.ask({"type": "ping", "ref": "a"}) == {
            "type": "error",
            "code": "internal",
            "message": "the server failed to answer this message",
            "ref": "a",
        }
        assert (await client.ask({"type": "subscribe"}))["type"] == "subscription_confirmed"
    assert "ZeroDivisionError" in caplog.text


async def test_statistics_name_every_client_and_what_it_gets():
    async with connected() as client:
        await client.ask({"type": "subscribe", "metric_types": ["system"]})
        await broadcast_system_metrics({"n": 1})
        await client.hear()
        stats = get_runtime().statistics.snapshot()
        [one] = stats["clients"]
        assert one["client_id"] == client.welcome["client_id"]
        assert (one["messages_sent"], one["metrics_sent"]) == (3, 1)
        assert list(one["subscription"]["metric_types"]) == ["system"]
        assert one["connected_since"].endswith("Z")
        assert stats["connected_clients"] == 1
        assert stats["total_connected"] >= 1
        assert stats["uptime_seconds"] > 0
        json.dumps(stats)


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
