"""The neighbour: a program that uses all limits of its token at once until its input ends; see PARTS.

    python -m benchmarks.neighbour.abuse URL TOKEN ADDRESS PART …

It prints `ready` when all parts run, and at the end how often what happened, as JSON.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks.drain import Drain
from benchmarks.payload import FIELDS, numbers
from metrics_stream.core.rate_limit import TokenBucket

SOURCE = "neighbour"
TYPES = ["system", "agent", "business", "hero", "presentation"]

# The defaults of the settings, with a little less than they allow: a limit that is passed would end the part.
REQUESTS_PER_SECOND = 19.5
METRICS_PER_REQUEST = 100
# A message costs 1, and 1 more for each 500 bytes.
COST_PER_SECOND, COST_BURST, COST_BYTES = 48.0, 900.0, 500
READERS, STALLED, WISHING = 60, 10, 20
SOURCES, AGENTS, FIELDS_OF_A_METRIC = 100, 1_000, 500
OPEN_RUNS = 20
# A producer of the largest bodies sends this many bytes with each request.
BODY_BYTES = 900_000


class Neighbour:
    """One token at one address, and what was done with it."""

    def __init__(self, url: str, token: str, address: str) -> None:
        self.url = url
        self.socket_url = f"ws{url.removeprefix('http')}/ws/metrics/"
        # The server believes this header of a proxy on its own machine.
        self.headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
        self.counts: Counter[str] = Counter()
        self.ended = threading.Event()
        self._local = threading.local()

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Return status and content of a request on the thread's own connection."""
        parts = urlsplit(self.url)
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, content, {**self.headers, "Content-Type": "application/json"})
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            status, text = 0, type(error).__name__.encode()
        self.counts[f"{method} {path.split('/')[1] or 'index'} {status}"] += 1
        return status, text

    def publish(self, make: Callable[[int], bytes]) -> None:
        """Publish bodies at the rate of a token until the end."""
        began = time.monotonic()
        for number in itertools.count():
            if self.ended.wait(max(0.0, began + number / REQUESTS_PER_SECOND - time.monotonic())):
                return
            self.request("POST", "/api/metrics/", make(number))


# --- publishing ---


def publish_many(neighbour: Neighbour) -> None:
    """Publish all metrics of the rate: many sources, series and agents, and ever new sets of agents."""
    chance = random.Random(1)
    bodies = [json.dumps(_many(chance, number)).encode() for number in range(60)]
    neighbour.publish(lambda number: bodies[number % len(bodies)])


def _many(chance: random.Random, number: int) -> list[dict[str, Any]]:
    plain = [
        {
            "metric_type": chance.choice(("system", "business", "hero", "presentation")),
            "source": f"{SOURCE}-{chance.randrange(SOURCES - 1)}",
            "data": dict(zip(FIELDS, numbers(chance, number), strict=True)),
        }
        for _ in range(METRICS_PER_REQUEST - 11)
    ]
    wide = {f"field_{number}_{index}": index + number / 7 for index in range(FIELDS_OF_A_METRIC)}
    pairs = [
        [{"agent_id": f"n{agent}", "current_load": chance.random()} for agent in chance.sample(range(AGENTS), 2)]
        for _ in range(10)
    ]
    agents = [{"metric_type": "agent", "source": SOURCE, "data": pair} for pair in pairs]
    return [*plain, {"metric_type": "system", "source": SOURCE, "data": wide}, *agents]


def publish_large(neighbour: Neighbour) -> None:
    """Publish bodies of nearly the largest size at the rate of requests."""
    chance = random.Random(2)
    data = {f"step_{step}": numbers(chance, step) for step in range(150)}
    item = {"metric_type": "presentation", "source": SOURCE, "data": data}
    size = len(json.dumps(item)) + 2
    body = json.dumps([item] * min(METRICS_PER_REQUEST, BODY_BYTES // size)).encode()
    neighbour.counts["bytes of a large body"] = len(body)
    neighbour.publish(lambda _: body)


# --- runs and pages ---


def start_runs(neighbour: Neighbour) -> None:
    """Start test runs and end them, as many as may be open, until the limit of the hour; then try on."""
    slugs: list[str] = []
    while not neighbour.ended.wait(0.05):
        status, text = neighbour.request("POST", "/api/runs/", {"name": "Neighbour", "sources": [SOURCE]})
        if status == 201:
            slugs.append(json.loads(text)["slug"])
        elif status == 429:
            neighbour.ended.wait(2)
        if len(slugs) >= OPEN_RUNS or (status != 201 and slugs):
            neighbour.request("POST", f"/api/runs/{slugs.pop()}/stop/")
    for slug in slugs:
        neighbour.request("POST", f"/api/runs/{slug}/stop/")


def open_pages(neighbour: Neighbour) -> None:
    """Look up pages, one after the other."""
    slug = ""
    status, text = neighbour.request("POST", "/api/runs/", {"name": "Pages", "sources": [SOURCE]})
    if status == 201:
        slug = json.loads(text)["slug"]
    paths = ["/", "/runs/", "/console/", "/dashboards/operations/"]
    paths += [f"/runs/{slug}/", f"/runs/{slug}/export.csv", f"/runs/{slug}/export.ndjson.gz"] if slug else []
    for path in itertools.cycle(paths):
        if neighbour.ended.is_set():
            break
        neighbour.request("GET", path)
    if slug:
        neighbour.request("POST", f"/api/runs/{slug}/stop/")


# --- sockets ---


async def read_everything(neighbour: Neighbour) -> None:
    """Read with many connections, each with a view of its own, as often as possible."""
    for number in range(READERS):
        client = await Drain.connect(neighbour.socket_url, neighbour.headers, neighbour.counts)
        client.send(_wishes(number))
        # The first messages are within the burst that the clients of a token have together.
        await asyncio.sleep(0.02)


async def stall(neighbour: Neighbour) -> None:
    """Subscribe with some connections and never read; come back when the server has closed them."""
    while True:
        before = neighbour.counts["ended"]
        for number in range(STALLED):
            client = await Drain.connect(neighbour.socket_url, neighbour.headers, neighbour.counts, is_stalled=True)
            client.send(_wishes(READERS + number))
        while neighbour.counts["ended"] < before + STALLED:  # noqa: ASYNC110  no event tells it
            await asyncio.sleep(0.5)


def _wishes(number: int) -> list[dict[str, Any]]:
    return [
        {"type": "set_update_interval", "interval_seconds": 0.1},
        {"type": "set_batching", "batch_size": 1000, "batch_timeout_seconds": 0.0},
        {"type": "set_filters", "filters": {"fields": [*FIELDS, f"field_{number}", "current_load"]}},
        {"type": "subscribe", "metric_types": TYPES},
    ]


async def wish(neighbour: Neighbour, messages: Iterator[dict[str, Any]]) -> None:
    """Send messages over several connections, as many as all connections of a token may send together."""
    clients: list[Drain] = []
    bucket = TokenBucket(COST_PER_SECOND, COST_BURST, time.monotonic())
    for number, message in enumerate(messages):
        cost = 1.0 + len(json.dumps(message)) / COST_BYTES
        while wait := bucket.take(cost, time.monotonic()):  # noqa: ASYNC110  a bucket has no event
            await asyncio.sleep(min(wait, 0.1))
        if len(clients) < WISHING:
            clients.append(await Drain.connect(neighbour.socket_url, neighbour.headers, neighbour.counts))
        client = clients[number % len(clients)]
        if client.transport.is_closing():
            clients.remove(client)
            continue
        client.send([message])
        neighbour.counts[f"sent {message['type']}"] += 1
        # No client sends more than ten messages a second.
        await asyncio.sleep(0.11 / WISHING)


def look_back() -> Iterator[dict[str, Any]]:
    """Yield messages that ask for the past."""
    chance = random.Random(3)
    while True:
        types = chance.sample(TYPES, chance.randint(1, len(TYPES)))
        yield {"type": "get_latest", "metric_types": TYPES}
        yield {"type": "unsubscribe", "metric_types": TYPES}
        yield {"type": "subscribe", "metric_types": types, "backfill_seconds": 900, "max_points": 2000}
        begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - chance.uniform(10, 300)))
        yield {"type": "replay", "from": begin, "speed": 60, "backfill_seconds": 900, "max_points": 2000}


def narrow() -> Iterator[dict[str, Any]]:
    """Yield ever new filters of a thousand names."""
    for number in itertools.count():
        names = [f"{number}-{index}" for index in range(1_000)]
        yield {"type": "set_filters", "filters": {"sources": names, "agent_ids": names[:10]}}
        yield {"type": "subscribe", "metric_types": TYPES}


async def ask_for_the_past(neighbour: Neighbour) -> None:
    """Spend all that messages may cost on questions about the past."""
    await wish(neighbour, look_back())


async def change_filters(neighbour: Neighbour) -> None:
    """Spend all that messages may cost on filters."""
    await wish(neighbour, narrow())


PARTS: dict[str, Callable[[Neighbour], Any]] = {
    "metrics": publish_many,
    "bodies": publish_large,
    "runs": start_runs,
    "pages": open_pages,
    "readers": read_everything,
    "stalled": stall,
    "past": ask_for_the_past,
    "filters": change_filters,
}
# What one token can do at the same time: the largest bodies and the most metrics share the rate of requests, and
# questions and filters share what messages may cost.
ALL = ("metrics", "runs", "pages", "readers", "stalled", "past")


async def run(neighbour: Neighbour, parts: list[str]) -> None:
    """Run parts until the input ends."""
    threads = []
    tasks: list[asyncio.Task[Any]] = []
    for name in parts:
        part = PARTS[name]
        if asyncio.iscoroutinefunction(part):
            tasks.append(asyncio.create_task(_go_on(part, neighbour)))
        else:
            threads.append(threading.Thread(target=part, args=(neighbour,)))
            threads[-1].start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    neighbour.ended.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for thread in threads:
        await asyncio.to_thread(thread.join)


async def _go_on(part: Callable[[Neighbour], Awaitable[None]], neighbour: Neighbour) -> None:
    """Run a part; begin it again when it could not connect."""
    while True:
        try:
            await part(neighbour)
        except (OSError, TimeoutError) as error:
            neighbour.counts[f"{part.__name__}: {type(error).__name__}"] += 1
            await asyncio.sleep(0.5)
        else:
            return


def main(url: str, token: str, address: str, *parts: str) -> None:
    """Be the neighbour. It is elsewhere in real life, so it gets less of this machine's processors than the others."""
    os.nice(10)
    neighbour = Neighbour(url, token, address)
    asyncio.run(run(neighbour, list(parts)))
    print(json.dumps(neighbour.counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
