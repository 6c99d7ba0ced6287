"""Publish numbered metrics of the five types from several sources until the input ends: `producer RATE`.

Each pair of type and source counts on its own, from 0.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from itertools import count, product
from typing import Any

from benchmarks.payload import DEMO_TYPES, FIELDS, numbers

SOURCES = ("web-1", "web-2", "worker-1", "worker-2")
AGENTS = 12
AGENTS_PER_METRIC = 3


def make(metric_type: str, number: int, chance: random.Random) -> Any:
    """Return the data of a metric, with its number in it; each agent has the number."""
    values = dict(zip(FIELDS, numbers(chance, number), strict=True))
    if metric_type == "agent":
        few = dict(list(values.items())[3:8])
        first = number * AGENTS_PER_METRIC
        names = [f"agent_{(first + index) % AGENTS}" for index in range(AGENTS_PER_METRIC)]
        return [{"agent_id": name, "agent_name": name.title(), "number": number, **few} for name in names]
    if metric_type == "presentation":
        return {"number": number, "hero_metrics": values, "key_highlights": ["Steady", "Fast"]}
    return {"number": number, **values}


def main(rate: float) -> None:
    """Publish, then print how many metrics were made and how many of them were dropped."""
    import django

    django.setup()
    from metrics_stream.broadcast import Broadcaster

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    pairs = list(product(SOURCES, DEMO_TYPES))
    chance, made = random.Random(1), Counter[tuple[str, str]]()
    began = time.monotonic()
    with Broadcaster(source="soak", max_queued=100_000) as stream:
        for index in count():
            if ended.wait(max(0.0, began + index / rate - time.monotonic())):
                break
            source, metric_type = pair = pairs[index % len(pairs)]
            stream.broadcast(metric_type, make(metric_type, made[pair], chance), source=source)
            made[pair] += 1
        stream.flush(30)
        print(made.total(), stream.dropped)


if __name__ == "__main__":
    main(float(sys.argv[1]))
