"""Runtimes on a Redis that a test breaks, with quick watches, and what the log says of their faults."""

import re
from contextlib import asynccontextmanager

import pytest
from channels.layers import channel_layers, get_channel_layer

from metrics_stream.bus.bus import declare_server
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.history import redis_node
from metrics_stream.runtime import bus_watch, publishing, redis_watch, statistics
from metrics_stream.runtime import runtime as runtime_module
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.inbox import Inbox

ON_VALKEY_AND_REDIS = ["valkey", pytest.param("redis", marks=pytest.mark.faults)]
"""The servers for what may differ between them; the second takes as long again."""


def layer_at(url: str, **options) -> dict:
    """Return CHANNEL_LAYERS for a Redis."""
    host = {"address": url, "socket_connect_timeout": 3, **options}
    config = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [host]}}
    return {"default": config}


def hurry(monkeypatch) -> None:
    """Make the watches of a runtime quick."""
    monkeypatch.setattr(runtime_module, "RESTART_SECONDS", 0.01)
    monkeypatch.setattr(bus_watch, "CANARY_SECONDS", 0.05)
    monkeypatch.setattr(bus_watch, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(bus_watch, "RECONNECT_SECONDS", 0.5)
    monkeypatch.setattr(bus_watch, "WHOLE_SECONDS", 0.2)
    monkeypatch.setattr(publishing, "WHOLE_SECONDS", 0.2)
    monkeypatch.setattr(redis_watch, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(statistics, "SAMPLE_SECONDS", 0.05)
    monkeypatch.setattr(redis_node, "DOUBT_SECONDS", 0.2)


class Viewer(Inbox):
    """An inbox that remembers all frames."""

    def __init__(self):
        super().__init__()
        self._seen = []

    @property
    def seen(self) -> list[dict]:
        """Return all frames so far."""
        while not self.frames.empty():
            self._seen.append(self.frames.get_nowait())
        return self._seen

    @property
    def statuses(self) -> list[str]:
        """Return the states of the bus that it was told."""
        return [frame["bus"] for frame in self.seen if frame["type"] == "status"]

    @property
    def metrics(self) -> list[dict]:
        """Return the data of all metrics."""
        found = [frame["data"] for frame in self.seen if frame["type"] in ("metric_update", "metric_batch")]
        return [metric["data"] for data in found for metric in (data if isinstance(data, list) else [data])]


@asynccontextmanager
async def viewer_on(settings, url: str, *metric_types: str, **options):
    """Start a runtime on a Redis with one client, and stop it at the end; yield the client."""
    settings.CHANNEL_LAYERS = layer_at(url, **options)
    channel_layers.backends.clear()
    declare_server()
    inbox = Viewer()
    runtime = get_runtime()
    handle = runtime.hub.add("one", inbox, connected_at=0.0)
    runtime.hub.change(handle, Selection(metric_types), Delivery(interval_seconds=0.1, batch_size=1))
    try:
        yield inbox
    finally:
        await stop_runtime()
        await get_channel_layer().flush()


def told(caplog, fault: str) -> list[str]:
    """Return the lines of the log about a fault, without durations and numbers."""
    lines = [record.getMessage() for record in caplog.records if getattr(record, "fault", None) == fault]
    return [re.sub(r"\d[\d,.]*", "N", line) for line in lines]
