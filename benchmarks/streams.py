"""metrics_stream itself, on its server, on daphne and in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

from benchmarks.load import BROWSER_OFFER, Target
from benchmarks.payload import TYPES
from benchmarks.processes import end
from benchmarks.systems import InProcess, Load, Producer, System
from tests.support.stack import ROOT, Stack


def commands(load: Load, index: int) -> str:
    """Return the messages of client `index` to metrics_stream, as a line of a script."""
    messages: list[dict[str, Any]] = []
    if load.interval_seconds is not None:
        messages.append({"type": "set_update_interval", "interval_seconds": load.interval_seconds})
    if load.batch_size is not None:
        messages.append({"type": "set_batching", "batch_size": load.batch_size, "batch_timeout_seconds": 0.0})
    if load.filters is not None:
        messages.append({"type": "set_filters", "filters": load.filters(index)})
    if load.subscribed:
        messages.append({"type": "subscribe", "metric_types": list(TYPES[load.kind])})
    return "\t".join(json.dumps(message) for message in messages)


class Stream(System):
    """metrics_stream with `manage.py serve`, on a Valkey."""

    name = "metrics_stream"
    workers = 1
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path, load: Load, redis_url: str) -> None:
        super().__init__(folder, load)
        self.stack = Stack(folder, redis_url, workers=self.workers, **self.environment)

    @classmethod
    def make(cls, folder: Path, load: Load, redis_url: Callable[[], str]) -> Self:
        """Return a system on a Valkey."""
        return cls(folder, load, redis_url())

    def start(self) -> None:
        """Start the server and the producer."""
        self.stack.start()
        self.port = self.stack.port
        self.producer = Producer("stream", self.load.kind, environment=self.stack.environment)

    @property
    def pid(self) -> int:
        """The process that is measured, with its descendants."""
        return super().pid if self.stack.server is None else self.stack.server.pid

    def target(self) -> Target:
        """Return how clients connect."""
        load = self.load
        count = load.clients + load.stalled if load.filters is not None else 1
        return Target(
            port=self.port,
            path="/ws/metrics/",
            offer=BROWSER_OFFER if load.deflate else None,
            scripts=[commands(load, index) for index in range(count)],
            ready="subscription_confirmed" if load.subscribed else '"welcome"',
        )

    def stop(self) -> None:
        """Stop the producer and the server."""
        if self.producer is not None:
            self.producer.stop()
        if self.stack.server is not None:
            end(self.stack.server)
            self.stack.server = None
        super().stop()


class StreamWithoutHistory(Stream):
    """The same without a history."""

    name = "metrics_stream without a history"
    environment: ClassVar[dict[str, str]] = {
        "DJANGO_SETTINGS_MODULE": "benchmarks.without_history",
        "PYTHONPATH": str(ROOT),
    }


class StreamWorkers2(Stream):
    """The same with two server processes."""

    name = "metrics_stream, 2 workers"
    workers = 2


class StreamWorkers3(Stream):
    """The same with three server processes."""

    name = "metrics_stream, 3 workers"
    workers = 3


class StreamDaphne(Stream):
    """metrics_stream on daphne, on a Valkey."""

    name = "metrics_stream on daphne"

    def start(self) -> None:
        """Start the server and the producer."""
        self.run(
            *(sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(self.port)),
            "project.asgi:application",
            environment=self.stack.environment,
        )
        self.producer = Producer("stream", self.load.kind, environment=self.stack.environment)


class StreamInMemory(InProcess):
    """metrics_stream with the in-memory channel layer."""

    name = "metrics_stream, in memory"
    application = "stream"
    protocol = "metrics_stream.server.websocket:StreamSocketProtocol"
    target = Stream.target


class StreamInMemoryDaphne(StreamInMemory):
    """The same on daphne."""

    name = "metrics_stream, in memory, daphne"
    server = "daphne"
