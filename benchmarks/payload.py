"""The metrics that all systems publish: about twelve varying numbers, and the instant at which each metric was due."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

FIELDS = (
    "throughput_tps",
    "requests_total",
    "requests_failed",
    "avg_response_time_ms",
    "p50_response_time_ms",
    "p95_response_time_ms",
    "p99_response_time_ms",
    "error_rate",
    "cpu_utilization",
    "memory_utilization",
    "network_throughput_mbps",
    "queue_depth",
)
AGENTS = 1_000
AGENTS_PER_METRIC = 10

Data = dict[str, Any] | list[dict[str, Any]]


def numbers(random_numbers: random.Random, number: int) -> list[float]:
    """Return a value for each of FIELDS, with as many digits as real measurements."""
    load = 1.0 + 0.5 * math.sin(number / 300)
    return [
        round(950 * load + random_numbers.gauss(0, 20), 2),
        1000 * number,
        number // 7,
        *(round(load * base * random_numbers.uniform(0.9, 1.1), 3) for base in (41.0, 38.0, 85.0, 140.0)),
        *(round(min(1.0, load * base * random_numbers.uniform(0.8, 1.2)), 4) for base in (0.002, 0.45, 0.5)),
        round(load * 310 * random_numbers.uniform(0.9, 1.1), 2),
        random_numbers.randrange(40),
    ]


def system_data(random_numbers: random.Random, number: int, sent_at: float) -> Data:
    """Return a metric of about 450 bytes."""
    return {"sent_at": sent_at, "number": number, **dict(zip(FIELDS, numbers(random_numbers, number), strict=True))}


def small_data(random_numbers: random.Random, number: int, sent_at: float) -> Data:
    """Return a metric of about 180 bytes: two numbers."""
    values = numbers(random_numbers, number)
    return {"sent_at": sent_at, "number": number, "throughput_tps": values[0], "error_rate": values[7]}


def large_data(random_numbers: random.Random, number: int, sent_at: float) -> Data:
    """Return a metric of about 10,000 bytes: measurements of 25 steps."""
    steps = {
        f"step_{step}": dict(zip(FIELDS, numbers(random_numbers, number + step), strict=True)) for step in range(29)
    }
    return {"sent_at": sent_at, "number": number, **steps}


def agent_data(random_numbers: random.Random, number: int, sent_at: float) -> Data:
    """Return ten of a thousand agents, the next ten for the next number."""
    first = number * AGENTS_PER_METRIC
    return [
        {
            "agent_id": f"agent_{(first + index) % AGENTS}",
            "sent_at": sent_at,
            "number": number,
            "requests_processed": number,
            "avg_response_time_ms": round(random_numbers.uniform(10, 90), 2),
            "success_rate": round(random_numbers.uniform(0.9, 1.0), 4),
            "current_load": round(random_numbers.random(), 3),
        }
        for index in range(AGENTS_PER_METRIC)
    ]


def _only(metric_type: str, make: Callable[[random.Random, int, float], Data]) -> Callable[[], Maker]:
    def make_all() -> Maker:
        random_numbers = random.Random(1)
        return lambda number, sent_at: (metric_type, make(random_numbers, number, sent_at))

    return make_all


def _demo() -> Maker:
    """Make the five metric types of the simulated stress test in turn, as `emit_demo_metrics` does."""
    from metrics_stream.collectors.demo.simulation import DemoTest

    test, step = DemoTest(), None

    def make(number: int, sent_at: float) -> tuple[str, Data]:
        nonlocal step
        index = number % len(DEMO_TYPES)
        if index == 0 or step is None:
            step = test.step(0.25 * (number + 1))
        metric_type = DEMO_TYPES[index]
        if metric_type == "agent":
            first, *others = step.agents
            return metric_type, [{**first, "sent_at": sent_at}, *others]
        return metric_type, {**getattr(step, metric_type), "sent_at": sent_at}

    return make


Maker = Callable[[int, float], tuple[str, Data]]
KINDS: dict[str, Callable[[], Maker]] = {
    "system": _only("system", system_data),
    "small": _only("system", small_data),
    "large": _only("presentation", large_data),
    "agents": _only("agent", agent_data),
    "demo": _demo,
}
DEMO_TYPES = ("system", "agent", "business", "hero", "presentation")
TYPES = {
    "system": ("system",),
    "small": ("system",),
    "large": ("presentation",),
    "agents": ("agent",),
    "demo": DEMO_TYPES,
}


class Source:
    """Make metrics of one kind, numbered from 0."""

    def __init__(self, kind: str) -> None:
        self._make = KINDS[kind]()
        self._number = 0

    def next(self, sent_at: float) -> tuple[str, Data]:
        """Return the type and data of the next metric; it is due at `sent_at`, in seconds since 1970."""
        made = self._make(self._number, round(sent_at, 6))
        self._number += 1
        return made

    def next_json(self, sent_at: float) -> bytes:
        """Return the next metric as JSON, as in a frame of metrics_stream."""
        instant = datetime.fromtimestamp(sent_at, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        metric_type, data = self.next(sent_at)
        return msgspec.json.encode({"metric_type": metric_type, "timestamp": instant, "source": "bench", "data": data})


def schedule(rate: float, count: int, start: float) -> Iterator[float]:
    """Yield the instants at which `count` metrics are due, `rate` per second from `start` on."""
    for index in range(count):
        yield start + index / rate
