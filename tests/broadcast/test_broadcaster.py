import asyncio
import os
import re
import threading

import pytest

from metrics_stream import native_threads
from metrics_stream.broadcast import Broadcaster, BroadcastError, functions, row_overflows
from metrics_stream.bus import bus as bus_module
from metrics_stream.bus.bus import Bus
from metrics_stream.core.errors import MetricError
from metrics_stream.core.metrics.budget import RowBudget
from tests.support.listener import Listener


async def test_each_metric_type_has_its_function():
    async with Listener() as listener:
        await functions.broadcast_system_metrics({"n": 1})
        await functions.broadcast_agent_metrics([{"agent_id": "a"}])
        await functions.broadcast_business_metrics({"n": 2})
        await functions.broadcast_hero_metrics({"n": 3})
        await functions.broadcast_presentation_data({"n": 4})
        await functions.broadcast_request_metrics([{"name": "/", "method": "GET"}])
        await functions.broadcast_error_metrics({"name": "/", "method": "GET", "message": "timeout"})
        bodies = await listener.bodies(7)
    types = ["system", "agent", "business", "hero", "presentation", "request", "error"]
    assert [body["metric_type"] for body in bodies] == types


async def test_rows_past_the_budget_are_folded_and_the_log_says_so_once(monkeypatch, caplog):
    monkeypatch.setattr(functions, "_rows", RowBudget(lambda: 0.0, source_rows=1))
    monkeypatch.setattr(row_overflows, "_logged", set())
    rows = [{"name": f"/{number}", "method": "GET", "requests_total": 1} for number in range(3)]
    async with Listener() as listener:
        for _ in range(2):
            await functions.broadcast_request_metrics(rows, source="vm")
        with Broadcaster(source="vm") as stream:
            stream._rows = RowBudget(lambda: 0.0, source_rows=2)
            await asyncio.to_thread(stream.broadcast_request_metrics, rows)
            assert await asyncio.to_thread(stream.flush)
        bodies = await listener.bodies(3)
    assert [[row["name"] for row in body["data"]] for body in bodies] == [["/0", "(other)"]] * 2 + [
        ["/0", "/1", "(other)"]
    ]
    assert caplog.text.count("2 more rows of request from vm are in the row (other); allowed: at most 2,000") == 1


async def test_timestamp_and_source_come_from_the_producer(settings):
    settings.METRICS_STREAM = {"SOURCE": "this-host"}
    async with Listener() as listener:
        await functions.broadcast("system", {"n": 1}, 1_700_000_001.5, source="mine")
        await functions.broadcast_many([{"metric_type": "system", "data": {"n": 2}}])
        first, second = await listener.bodies(2)
    assert (first["timestamp"], first["source"]) == ("2023-11-14T22:13:21.500000Z", "mine")
    assert second["source"] == "this-host"


async def test_many_are_all_or_none():
    async with Listener() as listener:
        with pytest.raises(MetricError, match="unknown metric type 'sytem'; allowed: system, agent"):
            await functions.broadcast_many(
                [{"metric_type": "system", "data": {"n": 1}}, {"metric_type": "sytem", "data": {}}]
            )
        await functions.broadcast_system_metrics({"n": 2})
        assert [body["data"]["n"] for body in await listener.bodies(1)] == [2]


async def test_types_added_by_settings_are_published(settings):
    settings.METRICS_STREAM = {"EXTRA_METRIC_TYPES": {"cloudwatch": "CloudWatch"}}
    async with Listener() as listener:
        await listener.bus.join("cloudwatch")
        await functions.broadcast("cloudwatch", {"n": 1})
        assert (await listener.bodies(1))[0]["metric_type"] == "cloudwatch"


async def test_outside_the_server_the_in_memory_layer_is_an_error(monkeypatch):
    monkeypatch.setattr(bus_module._Server, "declared", False)
    with pytest.raises(BroadcastError, match="Set REDIS_URL"):
        await functions.broadcast_system_metrics({"n": 1})
    with pytest.raises(BroadcastError, match="Set REDIS_URL"):
        Broadcaster()


def in_thread(work):
    """Run blocking work beside the event loop."""
    return asyncio.get_running_loop().run_in_executor(None, work)


async def test_a_thread_in_the_server_reaches_clients_over_the_in_memory_layer():
    def produce():
        with Broadcaster(source="thread") as stream:
            for number in range(100):
                stream.broadcast_system_metrics({"n": number})
            stream.broadcast_agent_metrics({"agent_id": "a", "n": 100})
            stream.broadcast_business_metrics({"n": 101})
            stream.broadcast_hero_metrics({"n": 102})
            stream.broadcast_presentation_data({"n": 103})
            stream.broadcast_many([{"metric_type": "system", "data": {"n": 104}}])
        return stream

    async with Listener() as listener:
        producing = in_thread(produce)
        bodies = await listener.bodies(105)
        stream = await producing
    assert [body["data"]["n"] for body in bodies if body["metric_type"] == "system"] == [*range(100), 104]
    assert {body["source"] for body in bodies} == {"thread"}
    assert (stream.published, stream.dropped, stream.queued) == (105, 0, 0)


@pytest.mark.valkey
async def test_plain_synchronous_code_reaches_clients_over_valkey(valkey_layer):
    def produce():
        with Broadcaster() as stream:
            for number in range(1000):
                stream.broadcast_system_metrics({"n": number})
            assert stream.flush(5)
            return stream.published

    async with Listener() as listener:
        producing = in_thread(produce)
        bodies = await listener.bodies(1000)
        assert await producing == 1000
    assert [body["data"]["n"] for body in bodies] == list(range(1000))


@pytest.mark.valkey
async def test_many_threads_share_one_broadcaster(valkey_layer):
    def produce():
        with Broadcaster() as stream:
            threads = [
                threading.Thread(
                    target=lambda name=name: [
                        stream.broadcast_system_metrics({"n": n}, source=name) for n in range(100)
                    ]
                )
                for name in "abcd"
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async with Listener() as listener:
        producing = in_thread(produce)
        bodies = await listener.bodies(400)
        await producing
    for name in "abcd":
        assert [body["data"]["n"] for body in bodies if body["source"] == name] == list(range(100))


@pytest.fixture
def dead_redis(settings):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
        }
    }


def test_a_dead_redis_neither_blocks_nor_grows(dead_redis, monkeypatch):
    stream = Broadcaster(max_queued=10)
    for number in range(1000):
        stream.broadcast_system_metrics({"n": number})
    assert stream.queued <= 10
    assert stream.dropped == 990
    assert not stream.flush(0.05)
    assert "could not" in (stream.last_error or wait_for_error(stream))
    assert not stream.close(0.05)
    assert (stream.published, stream.dropped, stream.queued) == (0, 1000, 0)


def wait_for_error(stream):
    assert native_threads.wait_until(lambda: stream.last_error, 5)
    return stream.last_error


@pytest.mark.valkey
async def test_metrics_that_waited_for_redis_are_published_when_it_runs(valkey_url, settings, log):
    dead = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}
    settings.CHANNEL_LAYERS = {"default": dead}
    stream = Broadcaster(max_queued=2)
    stream.broadcast_system_metrics({"n": 1})
    await in_thread(lambda: wait_for_error(stream))
    stream.broadcast_system_metrics({"n": "dropped"})
    settings.CHANNEL_LAYERS = {"default": {**dead, "CONFIG": {"hosts": [valkey_url]}}}
    async with Listener() as listener:
        stream.broadcast_system_metrics({"n": 2})
        assert [body["data"]["n"] for body in await listener.bodies(2)] == [1, 2]
    assert not await in_thread(stream.close), "the oldest was dropped"
    assert (stream.published, stream.dropped, stream.last_error) == (2, 1, None)
    waiting, published = (record.getMessage() for record in log.records)
    assert waiting.startswith("metrics wait to be published: the channel layer could not")
    assert re.fullmatch(r"metrics are published again after \d+\.\d s: 2 waited, 1 were dropped meanwhile", published)


def test_metrics_lost_on_closing_are_reported(dead_redis, log):
    stream = Broadcaster()
    stream.broadcast_many([{"metric_type": "system", "data": {"n": n}} for n in range(3)])
    wait_for_error(stream)
    assert not stream.close(0.05)
    assert log.records[-1].getMessage().startswith("3 metrics were not published: the channel layer could not")
    assert stream.close(0.05), "nothing is left to lose"


def test_a_bad_value_is_an_error_of_the_caller_at_once(dead_redis):
    stream = Broadcaster()
    with pytest.raises(MetricError, match="`data.a`"):
        stream.broadcast_system_metrics({"a": object()})
    with pytest.raises(MetricError, match="unknown metric type"):
        stream.broadcast("nope", {})
    assert stream.queued == 0
    stream.close(0.1)


async def test_an_unexpected_error_drops_its_batch_and_not_the_thread(monkeypatch, log):
    send = Bus.send

    async def fail_once(self, publication):
        monkeypatch.setattr(Bus, "send", send)
        raise ZeroDivisionError("by chance")

    async with Listener() as listener:
        stream = Broadcaster()
        monkeypatch.setattr(Bus, "send", fail_once)
        stream.broadcast_system_metrics({"n": 1})
        assert not await in_thread(stream.flush)
        assert (stream.dropped, stream.last_error) == (1, "ZeroDivisionError: by chance")
        stream.broadcast_system_metrics({"n": 2})
        assert [body["data"]["n"] for body in await listener.bodies(1)] == [2]
        assert await in_thread(stream.close)
    assert (stream.published, stream.dropped, stream.last_error) == (1, 1, None)
    assert "by chance" in log.text


def test_a_closed_broadcaster_says_so(dead_redis):
    stream = Broadcaster()
    stream.close()
    with pytest.raises(BroadcastError, match="is closed"):
        stream.broadcast_system_metrics({"n": 1})


def test_the_bound_of_the_queue_is_checked():
    bus_module.declare_server()
    with pytest.raises(ValueError, match="max_queued is 0"):
        Broadcaster(max_queued=0)


@pytest.mark.valkey
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_forked_child_publishes_only_its_own_metrics(valkey_layer):
    def fork_and_publish():
        stream = Broadcaster(source="parent")
        stream.broadcast_system_metrics({"n": 0})
        stream.flush()
        child = os.fork()
        if child == 0:  # Leave with _exit, so that pytest does not run in the child.
            code = 1
            try:
                stream.broadcast_system_metrics({"n": 1}, source="child")
                code = 0 if stream.close(5) and stream.published == 1 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        stream.broadcast_system_metrics({"n": 2})
        stream.close()
        return status

    async with Listener() as listener:
        forking = in_thread(fork_and_publish)
        bodies = await listener.bodies(3)
        assert await forking == 0
    assert [(body["source"], body["data"]["n"]) for body in bodies] == [("parent", 0), ("child", 1), ("parent", 2)]
