"""With a history, metrics that the channel layer or a server loses reach clients late."""

import asyncio
import contextlib
import json
import signal
import time

import pytest
import redis
import websockets

from tests.support.control import SOURCE, Control, Ledger, Producer, subscription_messages

pytestmark = pytest.mark.valkey


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.faults)])
async def test_clients_miss_nothing_when_redis_subscriptions_are_killed_every_second(make_stack, valkey_url, seconds):
    stack = await asyncio.to_thread(make_stack, workers=2)
    with redis.Redis.from_url(valkey_url) as admin, Producer(stack, per_second=200):
        async with Control(stack) as control, Control(stack) as other:
            await control.catches_up()
            killed, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                killed += await asyncio.to_thread(admin.client_kill_filter, _type="pubsub")
                await asyncio.sleep(1)
            assert killed >= seconds / 2
            await control.assert_undisturbed()
            await other.assert_undisturbed()


class Returning(Ledger):
    """A client that reconnects after every break, and resumes at its position."""

    def __init__(self, stack):
        super().__init__()
        self._stack = stack
        self._position = None
        self.recovered = []

    async def run(self):
        while True:
            # A server that is starting refuses connections, and one that is killed breaks them off.
            with contextlib.suppress(OSError, websockets.WebSocketException, EOFError):
                await self._stay()
            await asyncio.sleep(0.1)

    async def _stay(self):
        async with websockets.connect(self._stack.socket_url) as socket:
            back = {} if self._position is None else {"resume_from": self._position}
            for message in subscription_messages(SOURCE):
                await socket.send(json.dumps({**message, **back} if message["type"] == "subscribe" else message))
            async for text in socket:
                frame = json.loads(text)
                self.take(frame)
                self._position = frame.get("position", self._position)
                if "recovered" in frame:
                    self.recovered.append(frame["recovered"])


@pytest.mark.parametrize("times", [1, pytest.param(8, marks=pytest.mark.faults)])
async def test_clients_that_resume_after_a_server_was_killed_have_missed_nothing(make_stack, times):
    stack = await asyncio.to_thread(make_stack)
    with Producer(stack, per_second=200) as producer:
        client = Returning(stack)
        running = asyncio.create_task(client.run())
        for killed in range(times + 1):
            async with asyncio.timeout(30):
                published = time.time()
                while client.last_sent_at < published or len(client.recovered) < killed:
                    await asyncio.sleep(0.05)
            if killed < times:
                await asyncio.to_thread(stack.stop, signal.SIGKILL)
                await asyncio.to_thread(stack.start)
        await asyncio.to_thread(producer.stop)
        running.cancel()
        # Its connection is closed then.
        await asyncio.gather(running, return_exceptions=True)
    client.check()
    assert client.missing == 0
    assert client.gaps == []
    assert client.recovered == [True] * times
