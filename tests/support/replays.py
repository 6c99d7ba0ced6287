"""A client that is shown a replay, and a replay source that tests fill."""

import json
from contextlib import asynccontextmanager

from channels.testing import WebsocketCommunicator

from metrics_stream.broadcast import make_metric
from metrics_stream.consumers.replay import Moment, Pages
from metrics_stream.core.errors import BusError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.routing import stream_application

BEGIN = 1_700_000_000.0


def instant(seconds):
    """Return the ISO 8601 text of so many seconds after the beginning of the replay source."""
    return format_timestamp(BEGIN + seconds)


def metric(number, metric_type="system"):
    return make_metric(metric_type, {"n": number}, timestamp=BEGIN + number, source="tape")


class ListReplaySource:
    """One metric a second, numbered, in pages of ten."""

    run = "a-run"
    is_growing = False

    def __init__(self, seconds=20, metric_type="system"):
        self.metrics = [metric(number, metric_type) for number in range(seconds)]
        self.fails = 0

    async def bounds(self):
        return BEGIN, BEGIN + len(self.metrics) - 1

    async def mark_at(self, at):
        return max(0, -int(-(at - BEGIN) // 1))

    async def read(self, mark):
        if self.fails:
            self.fails -= 1
            raise BusError("the past is away")
        page = self.metrics[mark : mark + 10]
        return Pages(
            [Moment(item.timestamp, [item]) for item in page], mark + len(page), mark + len(page) >= len(self.metrics)
        )

    async def newest_at(self, at):
        before = [item for item in self.metrics if item.timestamp < at]
        return before[-1:]

    async def series(self, selection, since, until, max_points):
        return []


class Client(WebsocketCommunicator):
    """A client that keeps the metrics, states and gaps that come."""

    async def come(self):
        await self.connect(timeout=5)
        self.numbers, self.states, self.others, self.flags = [], [], [], set()
        await self.ask(type="set_update_interval", interval_seconds=0.1)
        await self.ask(type="set_batching", batch_size=1)
        await self.ask(type="subscribe", metric_types=["system"])

    async def hear(self):
        message = json.loads(await self.receive_from(timeout=5))
        if message["type"].startswith("metric_"):
            data = message["data"] if message["type"] == "metric_batch" else [message["data"]]
            self.numbers += [item["data"]["n"] for item in data]
            self.flags.add(message.get("replayed", False))
        elif message["type"] == "replay_state":
            self.states.append(message)
        else:
            self.others.append(message)
        return message

    async def ask(self, **message):
        """Send a message and return its reply; what comes before is kept."""
        await self.send_to(text_data=json.dumps({**message, "ref": "r"}))
        while (answer := await self.hear()).get("ref") != "r":
            pass
        return answer

    async def hear_state(self, state):
        while not self.states or self.states[-1]["state"] != state:
            await self.hear()
        return self.states[-1]

    async def hear_number(self, number):
        while number not in self.numbers:
            await self.hear()


@asynccontextmanager
async def connected():
    client = Client(stream_application(None), "/ws/metrics/")
    await client.come()
    try:
        yield client
    finally:
        await client.disconnect(timeout=5)
