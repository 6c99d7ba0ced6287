"""Everything that a hub would receive: every metric on the channel layer."""

import asyncio
import json

from metrics_stream.bus import bus as bus_module
from metrics_stream.bus.bus import Bus


class Listener:
    """Receives on the running loop."""

    async def __aenter__(self):
        bus_module.declare_server()
        bus_module.listen_on(asyncio.get_running_loop())
        self.bus = Bus(group_prefix="metrics_stream", timeout_seconds=3.0)
        await self.bus.open()
        for metric_type in ("system", "agent", "business", "hero", "presentation", "request", "error"):
            await self.bus.join(metric_type)
        return self

    async def __aexit__(self, *_):
        bus_module.listen_on(None)

    async def bodies(self, count):
        """Return the next `count` metrics; a program that publishes them may start slowly."""
        received = []
        while len(received) < count:
            received += (await asyncio.wait_for(self.bus.receive(), 20)).metrics
        return [json.loads(metric.body) for metric in received]
