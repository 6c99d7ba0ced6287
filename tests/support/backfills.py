"""A WebSocket client that requests backfills, and metrics of some minutes ago for it."""

import json
import time
from contextlib import asynccontextmanager

from channels.testing import WebsocketCommunicator

from metrics_stream.broadcast import broadcast_many
from metrics_stream.routing import stream_application


def begin():
    """Return the beginning of a minute some minutes ago, and so of a bucket of any width that is used here."""
    return time.time() // 60 * 60 - 240


class Client(WebsocketCommunicator):
    async def hear(self):
        return json.loads(await self.receive_from(timeout=5))

    async def say(self, **message):
        await self.send_to(text_data=json.dumps(message))

    async def backfill(self):
        """Return the series of a backfill by field (and agent), and its messages."""
        messages, series = [], {}
        while not messages or not messages[-1]["done"]:
            message = await self.hear()
            if message["type"] == "backfill":
                messages.append(message)
                for item in message["series"]:
                    series[(item["source"], item.get("agent_id"), item["field"])] = item
        return series, messages


@asynccontextmanager
async def connected(path="/ws/metrics/"):
    client = Client(stream_application(None), path)
    await client.connect(timeout=5)
    await client.hear()
    try:
        yield client
    finally:
        await client.disconnect(timeout=5)


async def publish(values, metric_type="system", source="a", seconds=1.0):
    began = begin()
    await broadcast_many(
        [
            {"metric_type": metric_type, "data": value, "timestamp": began + index * seconds, "source": source}
            for index, value in enumerate(values)
        ]
    )
