"""Redis is killed, stopped, emptied, cut off or not running yet; sockets stay open, and losses are announced."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from tests.faults.conftest import fault_stack
from tests.support.control import Control, Producer, catch_up
from tests.support.redis_process import RedisProcess
from tests.support.stack import Stack, eventually

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def redis_process(tmp_path_factory) -> Iterator[RedisProcess]:
    """A Redis that tests may break, as long as it runs again at the end."""
    with RedisProcess(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def stack(redis_process, tmp_path_factory) -> Iterator[Stack]:
    """A server on that Redis, which must survive whatever happens to Redis."""
    shared = fault_stack(tmp_path_factory.mktemp("shared"), redis_process.url, workers=2)
    shared.start()
    yield shared
    shared.stop()


@pytest.mark.parametrize("seconds", [1, pytest.param(5, marks=pytest.mark.faults)])
async def test_redis_that_is_killed_and_comes_back(stack, producer, redis_process, seconds):
    async with Control(stack) as control:
        await control.catches_up()
        await asyncio.to_thread(redis_process.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(redis_process.start)
        await control.assert_losses_announced(15)
        assert control.missing < 50 * (seconds + 4), "the hub was interrupted for longer than Redis"


@pytest.mark.parametrize("seconds", [1.5, pytest.param(10, marks=pytest.mark.faults)])
async def test_redis_that_stops_answering_and_continues(stack, producer, redis_process, seconds):
    async with Control(stack) as control:
        await control.catches_up()
        redis_process.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        redis_process.signal(signal.SIGCONT)
        await control.assert_losses_announced(15)


@pytest.mark.faults
@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_clients_learn_within_six_seconds_that_redis_is_away_and_new_ones_connect(
    stack, producer, redis_process, how
):
    async with Control(stack) as control:
        await control.catches_up()
        began = time.monotonic()
        if how == "killed":
            await asyncio.to_thread(redis_process.kill)
        else:
            redis_process.signal(signal.SIGSTOP)
        await eventually(lambda: control.statuses, 6)
        # Each worker detects it by itself, so the other one may be a second later.
        await asyncio.sleep(6 - (time.monotonic() - began))
        async with Control(stack) as newcomer:
            await eventually(lambda: [state for _, state in newcomer.statuses] == ["stale"], 1)
            await asyncio.sleep(10 - (time.monotonic() - began))
            if how == "killed":
                await asyncio.to_thread(redis_process.start)
            else:
                redis_process.signal(signal.SIGCONT)
            for client in (control, newcomer):
                await client.assert_losses_announced(15)
                await eventually(lambda client=client: len(client.statuses) == 2, 6)
                assert [state for _, state in client.statuses] == ["stale", "live"]


async def test_subscriptions_that_redis_cuts_again_and_again(stack, redis_process):
    with Producer(stack, per_second=1_000, source="fast"):
        async with contextlib.AsyncExitStack() as clients:
            controls = [await clients.enter_async_context(Control(stack, source="fast")) for _ in range(4)]
            for _ in range(3):
                await catch_up(*controls)
                assert int(await asyncio.to_thread(redis_process.command, "CLIENT", "KILL", "TYPE", "pubsub")) >= 2
            for control in controls:
                await control.assert_losses_announced()


@pytest.fixture
def own_redis(tmp_path) -> Iterator[RedisProcess]:
    """A Redis that no other test uses."""
    with RedisProcess(tmp_path) as running:
        yield running


async def test_redis_that_is_emptied_loses_nothing(own_redis, make_stack):
    stack = await asyncio.to_thread(make_stack, redis_url=own_redis.url)
    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            assert await asyncio.to_thread(own_redis.command, "FLUSHALL")
            await control.catches_up()
            async with Control(stack) as newcomer:
                await newcomer.assert_undisturbed()
            await control.assert_undisturbed()


async def test_a_server_that_starts_before_redis(own_redis, make_stack):
    await asyncio.to_thread(own_redis.kill)
    stack = await asyncio.to_thread(make_stack, redis_url=own_redis.url)
    async with Control(stack) as control:
        await asyncio.to_thread(own_redis.start)
        with Producer(stack):
            await control.assert_losses_announced(15)
            async with Control(stack) as newcomer:
                await newcomer.assert_undisturbed()


@pytest.mark.faults
async def test_a_metric_after_fifteen_silent_seconds(own_redis, make_stack):
    stack = await asyncio.to_thread(make_stack, redis_url=own_redis.url)
    async with Control(stack) as control:
        await asyncio.sleep(15)
        with Producer(stack):
            await control.assert_undisturbed()
    assert "Traceback" not in stack.log.read_text()
