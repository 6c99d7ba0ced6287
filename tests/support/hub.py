"""A hub with a clock that tests move and sinks that keep what is written."""

import heapq
import itertools
import json
from collections.abc import Callable
from typing import Any

from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import CloseCode
from metrics_stream.hub.clients import HubLimits
from metrics_stream.hub.hub import Hub
from metrics_stream.telemetry import Telemetry

TYPES = {item.slug: item for item in BUILTIN_TYPES}
SYSTEM = Selection(("system",))
FAST = Delivery(interval_seconds=0.1, batch_size=10, batch_timeout_seconds=0.0)


class FakeTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that only `advance` moves, and that makes the calls that are due then, in their order."""

    def __init__(self, early: float = 0.0) -> None:
        """Make each call `early` seconds too early, as uvloop does."""
        self.early = early
        self.now = 1000.0
        self.calls: list[tuple[float, int, FakeTimer, Callable[..., object], tuple[Any, ...]]] = []
        self.numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> FakeTimer:
        timer = FakeTimer()
        heapq.heappush(self.calls, (when - self.early, next(self.numbers), timer, callback, args))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.calls and self.calls[0][0] <= end + 1e-9:
            when, _, timer, callback, args = heapq.heappop(self.calls)
            self.now = max(self.now, when)
            if not timer.cancelled:
                callback(*args)
        self.now = end


class ListSink:
    """A sink that keeps its frames in lists. While it is `stalled`, no write is done at once."""

    def __init__(self, harness: "HubHarness") -> None:
        self.harness = harness
        self.frames: list[Any] = []
        self.raw: list[str] = []
        self.times: list[float] = []
        self.stalled = False
        self.broken = False
        self.unread: int | None = None
        self.closed: tuple[CloseCode, str] | None = None

    def write(self, frames) -> bool:
        if self.broken:
            raise ValueError("this sink is broken")
        self.raw.extend(frame.text for frame in frames)
        self.frames.extend(json.loads(frame.data) for frame in frames)
        self.times.append(self.harness.clock.now)
        return not self.stalled

    def backlog(self) -> int | None:
        return self.unread

    def close(self, code, error, reason) -> None:
        self.closed = (code, error.value)

    @property
    def metrics(self) -> list[Any]:
        """The numbers of all metrics received, in order."""
        numbers = []
        for frame in self.frames:
            if frame["type"] == "metric_update":
                numbers.append(frame["data"]["data"]["n"])
            elif frame["type"] == "metric_batch":
                assert frame["count"] == len(frame["data"]) > 1
                numbers.extend(item["data"]["n"] for item in frame["data"])
        return numbers

    @property
    def gaps(self) -> list[Any]:
        return [frame for frame in self.frames if frame["type"] == "gap"]


class HubHarness:
    """A hub with its clock; `join` adds clients."""

    def __init__(self, **limits: Any) -> None:
        self.clock = FakeClock()
        self.telemetry = Telemetry()
        self.interests: list[frozenset[str]] = []
        defaults = {
            "max_pending_metrics": 10_000,
            "max_pending_bytes": 1_000_000,
            "slow_client_bytes": 1_000_000,
            "slow_client_seconds": 10.0,
        }
        self.hub = Hub(
            clock=self.clock,
            limits=HubLimits(**{**defaults, **limits}),
            telemetry=self.telemetry,
            on_interest=self.interests.append,
        )
        self.numbers = itertools.count()

    def join(self, selection: Selection = SYSTEM, delivery: Delivery = FAST):
        sink = ListSink(self)
        client = self.hub.add(f"client-{next(self.numbers)}", sink, connected_at=0.0)
        self.hub.change(client, selection, delivery)
        return client, sink

    def publish(self, *numbers: int, metric_type: str = "system", source: str = "host1", **fields: Any) -> None:
        self.hub.publish(make_numbered(number, metric_type, source, **fields) for number in numbers)


def make_numbered(number: int, metric_type: str = "system", source: str = "host1", **fields: Any) -> Metric:
    data: Any = {"n": number, **fields}
    if metric_type == "agent":
        data = [{"agent_id": "a", "n": number, **fields}]
    return encode_metric(TYPES[metric_type], data, timestamp=0.0, source=source, max_bytes=1_000_000)
