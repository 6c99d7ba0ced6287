"""A WebSocket client that can resume where it was, and numbered metrics for it."""

import json
from contextlib import asynccontextmanager

from channels.testing import WebsocketCommunicator

from metrics_stream.broadcast import broadcast_many
from metrics_stream.routing import stream_application


class Client(WebsocketCommunicator):
    """A client that keeps the position it has reached, as a program would."""

    position = None

    async def hear(self):
        message = json.loads(await self.receive_from(timeout=5))
        self.position = message.get("position", self.position)
        return message

    async def ask(self, **message):
        await self.send_to(text_data=json.dumps(message))
        return await self.hear()

    async def subscribe(self, *metric_types, **keys):
        await self.ask(type="set_update_interval", interval_seconds=0.1)
        return await self.ask(type="subscribe", metric_types=metric_types or ("system",), **keys)

    async def hear_until(self, number):
        """Return what came up to the metric `number`: (n, replayed) for metrics, a dict for gaps."""
        heard = []
        while not heard or isinstance(heard[-1], dict) or heard[-1][0] != number:
            message = await self.hear()
            heard += metrics_of(message) if message["type"].startswith("metric_") else [message]
        return heard


def metrics_of(message):
    data = message["data"] if message["type"] == "metric_batch" else [message["data"]]
    return [(metric["data"]["n"], message.get("replayed", False)) for metric in data]


@asynccontextmanager
async def connected(path="/ws/metrics/"):
    client = Client(stream_application(None), path)
    accepted, _ = await client.connect(timeout=5)
    assert accepted
    await client.hear()
    try:
        yield client
    finally:
        await client.disconnect(timeout=5)


async def publish(*numbers, metric_type="system", **keys):
    await broadcast_many([{"metric_type": metric_type, "data": {"n": number}, **keys} for number in numbers])
