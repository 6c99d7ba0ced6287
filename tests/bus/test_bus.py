"""The same contract over the in-memory layer and a real Valkey."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from metrics_stream.bus import bus as bus_module
from metrics_stream.bus.bus import Bus
from metrics_stream.bus.messages import Published, StatsRequest
from metrics_stream.bus.publication import MAX_BATCH_METRICS
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.errors import BusError, NotSharedError
from tests.support.numbered import numbered_metrics


@pytest.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.valkey)])
def layer(request: pytest.FixtureRequest) -> str:
    if request.param == "valkey":
        request.getfixturevalue("valkey_layer")
    return request.param


def make_bus() -> Bus:
    return Bus(group_prefix="test_bus", timeout_seconds=3.0)


@pytest_asyncio.fixture
async def listener(layer: str) -> AsyncIterator[Bus]:
    """Make a bus that listens on the running loop, as the hub's does."""
    bus_module.declare_server()
    bus_module.listen_on(asyncio.get_running_loop())
    bus = make_bus()
    await bus.open()
    yield bus
    bus_module.listen_on(None)


async def receive(bus: Bus) -> object:
    message = await asyncio.wait_for(bus.receive(), 5)
    return message.metrics if isinstance(message, Published) else message


async def test_what_is_published_arrives_in_order_and_unchanged(listener):
    await listener.join("system")
    published = numbered_metrics(3)
    await make_bus().publish(published)
    assert await receive(listener) == published


async def test_only_joined_types_are_heard(listener):
    await listener.join("hero")
    await make_bus().publish([*numbered_metrics(1, "system"), *numbered_metrics(1, "hero")])
    assert [metric.metric_type for metric in await receive(listener)] == ["hero"]


async def test_a_type_that_was_left_is_not_heard(listener):
    await listener.join("system")
    await listener.join("hero")
    await listener.leave("system")
    await make_bus().publish([*numbered_metrics(1, "system"), *numbered_metrics(1, "hero")])
    assert [metric.metric_type for metric in await receive(listener)] == ["hero"]


async def test_joining_again_does_not_double_anything(listener):
    for _ in range(3):
        await listener.join("system")
    await make_bus().publish(numbered_metrics(1))
    await make_bus().publish(numbered_metrics(2))
    assert [len(await receive(listener)) for _ in range(2)] == [1, 2]


async def test_a_large_publication_is_split_and_keeps_its_order(listener):
    await listener.join("system")
    published = numbered_metrics(MAX_BATCH_METRICS + 10)
    await make_bus().publish(published)
    assert [*await receive(listener), *await receive(listener)] == published


async def test_every_process_that_listens_hears_it(listener):
    second = make_bus()
    await second.open()
    for bus in (listener, second):
        await bus.join("system")
    await make_bus().publish(numbered_metrics(1))
    assert await receive(listener) == await receive(second) == numbered_metrics(1)


async def test_statistics_are_gathered_from_who_answers(listener):
    async def answer() -> None:
        request = await receive(listener)
        assert isinstance(request, StatsRequest)
        await listener.reply_stats(request, {"process": "p1"})

    answering = asyncio.create_task(answer())
    assert await make_bus().gather_stats(wait_seconds=0.5) == [{"process": "p1"}]
    await answering


async def test_a_question_about_a_client_reaches_all_and_is_answered_once(listener):
    question = Question(
        client_id="c", metric_type="system", source="a", newest=numbered_metrics(1)[0], history_seconds=9.0
    )

    async def answer() -> None:
        request = await receive(listener)
        assert request.question == question
        await listener.reply_stats(request, {"process": "p1"})

    answering = asyncio.create_task(answer())
    # It returns long before the time is up.
    async with asyncio.timeout(30):
        assert await make_bus().ask_about_client(question, wait_seconds=600) == {"process": "p1"}
    await answering
    assert await make_bus().ask_about_client(Question(client_id="gone"), wait_seconds=0.1) is None


async def test_an_unknown_message_is_ignored(listener):
    await listener.join("system")
    await listener._layer.group_send("test_bus.system", {"type": "something.newer"})
    assert await receive(listener) is None


@pytest.mark.parametrize("message", [{"payload": b"junk"}, {"payload": b"\x91\x01"}, {}])
async def test_a_message_that_holds_no_metrics_is_left_out(listener, message):
    await listener.join("system")
    await listener._layer.group_send("test_bus.system", {"type": "metrics.publish", **message})
    assert await receive(listener) is None


async def test_many_who_publish_at_once_on_one_loop_lose_nothing(listener):
    await listener.join("system")
    bus = make_bus()
    # Each publication is split, and the parts of several publications interleave.
    await asyncio.gather(*(bus.publish(numbered_metrics(MAX_BATCH_METRICS + 1)) for _ in range(5)))
    received = [await receive(listener) for _ in range(10)]
    assert sorted(map(len, received)) == [1] * 5 + [MAX_BATCH_METRICS] * 5


async def test_outside_a_server_the_in_memory_layer_says_what_to_do(monkeypatch):
    monkeypatch.setattr(bus_module._Server, "declared", False)
    with pytest.raises(NotSharedError, match="Set REDIS_URL for both"):
        await make_bus().publish(numbered_metrics(1))


async def test_an_unreachable_redis_is_an_error_with_its_reason(settings):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
        }
    }
    with pytest.raises(BusError, match="could not publish"):
        await make_bus().publish(numbered_metrics(1))


async def test_a_layer_that_hangs_is_given_up_at_the_deadline(settings):
    # A server that accepts and never answers.
    gone = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            pass
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{port}"]},
        }
    }
    bus = Bus(group_prefix="test_bus", timeout_seconds=0.1)
    with pytest.raises(BusError, match=r"took more than 0\.1 s to publish"):
        await bus.publish(numbered_metrics(1))
    await bus._layer.flush()
    await asyncio.wait_for(gone.wait(), 5)
    server.close()


def test_no_layer_at_all_is_an_error(settings):
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(BusError, match="no channel layer is configured"):
        make_bus()


@pytest.mark.valkey
async def test_a_group_cannot_be_joined_between_a_reset_and_the_next_channel(valkey_layer: None) -> None:
    bus = make_bus()
    await bus.open()
    await bus.reset()
    for join in (bus.join("system"), bus.join_control()):
        with pytest.raises(BusError, match="dropped its connections"):
            await join
    await bus.open()
    await bus.join("system")
    await bus.close(["system"])
