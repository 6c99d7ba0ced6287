"""Clients that do not read, read slowly or only send pings, each beside one that must not be disturbed."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.faults.conftest import fault_stack
from tests.faults.slow_client import SlowClient
from tests.support.control import POLL_SECONDS, Control, Producer, show, subscription_messages
from tests.support.stack import Stack

pytestmark = pytest.mark.valkey

# Four megabytes per second, so that the buffers of the kernel are soon full. A healthy client reads only the numbers.
PER_SECOND, PADDING = 100, 40_000
EVERYTHING = subscription_messages("counter", fields=())


# After this time, a server has published its own metrics, and opened the connections that it needs for that.
WARM_SECONDS = 3

# The shared server closes a client after so many seconds without progress, so that the tests are quick.
IMPATIENT_SECONDS = 2


@pytest.fixture(scope="module")
def stack(valkey_url, tmp_path_factory) -> Iterator[Stack]:
    """A server that closes slow clients soon."""
    shared = fault_stack(tmp_path_factory.mktemp("shared"), valkey_url, SLOW_CLIENT_SECONDS=IMPATIENT_SECONDS)
    shared.start()
    yield shared
    shared.stop()


@pytest.fixture(scope="module")
def producer(stack) -> Iterator[Producer]:
    """A producer of large metrics."""
    with Producer(stack, per_second=PER_SECOND, padding=PADDING) as running:
        yield running


async def is_connected(stack, client):
    return client.client_id in {each["client_id"] for each in (await show(stack))["clients"]}


async def never_read(stack, *, within_seconds):
    """Check that clients that never read are soon closed and forgotten, without disturbing another client."""
    async with Control(stack) as control, contextlib.AsyncExitStack() as clients:
        await control.catches_up()
        # A server keeps the connections, to Redis and elsewhere, that it opens with its first clients.
        async with SlowClient(stack) as first:
            await first.send(EVERYTHING)
            await asyncio.sleep(POLL_SECONDS)
        async with asyncio.timeout(20):
            while (before := await show(stack))["connected_clients"] > 1 or before["uptime_seconds"] < WARM_SECONDS:
                await asyncio.sleep(POLL_SECONDS)
        began = time.monotonic()
        stalled = [await clients.enter_async_context(SlowClient(stack)) for _ in range(10)]
        for client in stalled:
            await client.send(EVERYTHING)
        # A new client reads the history, which keeps up to eight connections to Redis after as many clients at once.
        while (after := await show(stack))["connected_clients"] > 1 or after["fds"] > before["fds"] + 8:
            assert time.monotonic() - began < within_seconds, after
            await asyncio.sleep(POLL_SECONDS)
        assert after["slow_clients_closed"] - before["slow_clients_closed"] == len(stalled)
        assert after["rss"] < before["rss"] + 30e6
        for client in stalled:
            await client.read_to_the_end()
            # The close frame follows what was written before; it need not arrive.
            assert client.close_code in {4008, None}
        await control.assert_undisturbed()
        assert control.age(0.9) < 1


async def test_clients_that_never_read_are_closed_and_their_memory_is_freed(stack, producer):
    await never_read(stack, within_seconds=20)


@pytest.mark.faults
async def test_clients_that_never_read_are_closed_within_thirty_seconds(make_stack):
    stack = await asyncio.to_thread(make_stack)
    with Producer(stack, per_second=PER_SECOND, padding=PADDING):
        await never_read(stack, within_seconds=30)


async def read_slowly(stack, seconds, *, bytes_per_second):
    """Check that a client that reads at this rate gets new metrics and gaps, without disturbing another client."""
    async with Control(stack) as control, SlowClient(stack) as slow:
        await control.catches_up()
        await slow.send(EVERYTHING)
        await slow.read(seconds, bytes_per_second=bytes_per_second)
        # The server knows it, since a close frame would follow what was written before.
        assert await is_connected(stack, slow)
        assert slow.bytes_read > 0.8 * bytes_per_second * seconds
        slow.check()
        assert slow.numbers
        assert "slow_consumer" in {gap["reason"] for gap in slow.gaps}
        await control.assert_undisturbed()
        assert control.age(0.9) < 1


async def test_a_client_that_reads_slowly_gets_the_newest_and_stays_connected(stack, producer):
    await read_slowly(stack, 6, bytes_per_second=250_000)


@pytest.mark.faults
async def test_a_client_that_reads_ten_kilobytes_a_second_stays_connected(make_stack):
    stack = await asyncio.to_thread(make_stack)
    with Producer(stack, per_second=PER_SECOND, padding=2_000):
        await read_slowly(stack, 90, bytes_per_second=10_000)


async def test_a_client_that_sends_pings_and_never_reads_is_closed_as_well(stack, producer):
    async with Control(stack) as control, SlowClient(stack) as pinging:
        await pinging.send(EVERYTHING)
        began = time.monotonic()
        while await is_connected(stack, pinging):
            assert time.monotonic() - began < 15
            await pinging.ping()
            await asyncio.sleep(POLL_SECONDS)
        await control.assert_undisturbed()


async def test_a_client_that_only_pings_stays_connected(stack, producer):
    async with Control(stack) as control, SlowClient(stack) as pinging:
        began = time.monotonic()
        while time.monotonic() - began < IMPATIENT_SECONDS + 1:
            await pinging.ping()
            await pinging.read(0.1, bytes_per_second=100_000)
        assert not pinging.ended
        await control.assert_undisturbed()


async def test_a_flood_of_pings_with_unread_answers_takes_no_memory(stack, producer):
    server = psutil.Process(stack.server.pid)
    async with Control(stack) as control, SlowClient(stack) as pinging:
        await control.catches_up()
        before = server.memory_info().rss
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                while not pinging.ended:
                    await pinging.ping(200)
                    await asyncio.sleep(0)  # A socket that accepts everything at once would not yield to other tasks.
        assert server.memory_info().rss < before + 20e6
        await control.assert_undisturbed()
        assert control.age(0.9) < 1
