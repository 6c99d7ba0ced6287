"""A healthy client beside a fault, and the producer of its metrics: numbers in order, at a steady rate."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from datetime import datetime
from typing import Any, Self

import websockets

from tests.support.stack import ROOT, Stack, eventually

SOURCE = "counter"

# Rarely enough that the requests are no load on the server.
POLL_SECONDS = 0.2

PRODUCER = """
import sys, threading, time
import django
django.setup()
from metrics_stream.broadcast import Broadcaster
rate, padding = float(sys.argv[1]), "x" * int(sys.argv[2])
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
began, number = time.monotonic(), 0
with Broadcaster(source=sys.argv[3]) as stream:
    while not ended.wait(max(0.0, began + number / rate - time.monotonic())):
        stream.broadcast_system_metrics({"n": number, "padding": padding})
        number += 1
    stream.flush(10)
    print(number, stream.published, stream.dropped)
"""


class Producer:
    """A process that publishes `system` metrics numbered from 0 through a `Broadcaster`."""

    def __init__(self, stack: Stack, *, per_second: float = 50.0, padding: int = 0, source: str = SOURCE) -> None:
        self.source = source
        self._process = subprocess.Popen(
            [sys.executable, "-c", PRODUCER, str(per_second), str(padding), source],
            cwd=ROOT,
            env=stack.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> int:
        """Stop the process and return how many numbers it published; fail when it has not published all of them."""
        out, _ = self._process.communicate(timeout=20)
        made, published, dropped = map(int, out.split())
        assert (published, dropped) == (made, 0)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.communicate(timeout=20)


class Ledger:
    """The numbers that one client received.

    `numbers` are in the order of arrival. `holes` are the missing numbers that no `gap` announced, neither with the
    frame before them nor with the one after them.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ages: list[float] = []
        self.gaps: list[dict[str, Any]] = []
        self.statuses: list[tuple[float, str]] = []
        self.errors: list[dict[str, Any]] = []
        self.holes: list[tuple[int, int]] = []
        self.client_id = ""
        self.is_subscribed = False
        self.last_sent_at = 0.0
        self._gaps_before = self._gaps_now = 0

    def take(self, frame: dict[str, Any]) -> None:
        """Read one message of the server."""
        match frame["type"]:
            case "welcome":
                self.client_id = frame["client_id"]
            case "subscription_confirmed":
                self.is_subscribed = True
            case "metric_update":
                self._take_metrics([frame["data"]])
            case "metric_batch":
                self._take_metrics(frame["data"])
            case "gap":
                self.gaps.append(frame)
                self._gaps_now += 1
            case "status":
                self.statuses.append((time.monotonic(), frame["bus"]))
            case "error":
                self.errors.append(frame)

    def _take_metrics(self, metrics: list[dict[str, Any]]) -> None:
        now = time.time()
        for metric in metrics:
            number = metric["data"]["n"]
            if self.numbers and number > self.numbers[-1] + 1 and not (self._gaps_before or self._gaps_now):
                self.holes.append((self.numbers[-1], number))
            self.numbers.append(number)
            self.last_sent_at = datetime.fromisoformat(metric["timestamp"]).timestamp()
            self.ages.append(now - self.last_sent_at)
        self._gaps_before, self._gaps_now = self._gaps_now, 0

    @property
    def missing(self) -> int:
        """Return how many numbers between the first and the last are missing."""
        return self.numbers[-1] - self.numbers[0] + 1 - len(set(self.numbers))

    def age(self, share: float) -> float:
        """Return the age in seconds that this share (0-1) of the metrics did not exceed on arrival."""
        return sorted(self.ages)[int(share * (len(self.ages) - 1))]

    def check(self) -> None:
        """Check that a gap announced each missing number, and that none came twice or out of order."""
        repeated = [(a, b) for a, b in itertools.pairwise(self.numbers) if b <= a]
        assert not repeated, f"twice or out of order: {repeated}"
        assert not self.holes, f"missing without a gap: {self.holes}"


class Control(Ledger):
    """A client that reads without delay."""

    def __init__(self, stack: Stack, *, source: str = SOURCE, **options: Any) -> None:
        super().__init__()
        self.close_code: int | None = None
        self._stack = stack
        self._source = source
        self._options = options
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._socket = await websockets.connect(self._stack.socket_url, **self._options)
        self.take(json.loads(await asyncio.wait_for(self._socket.recv(), 10)))
        assert self.client_id
        for message in subscription_messages(self._source):
            await self._socket.send(json.dumps(message))
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        assert self._reader is not None
        await self._reader

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                self.take(json.loads(text))
        except websockets.ConnectionClosedError:
            pass
        self.close_code = self._socket.close_code

    async def catches_up(self, seconds: float = 30.0) -> None:
        """Wait until a metric arrives that was published from now on."""
        now = time.time()
        await eventually(lambda: self.last_sent_at > now or self.close_code is not None, seconds)
        assert self.close_code is None, (self.close_code, self.errors)

    async def assert_losses_announced(self, seconds: float = 30.0) -> None:
        """Check that the socket is open and that missing numbers were announced; allow `seconds` for the recovery."""
        await self.catches_up(seconds)
        self.check()
        assert not self.errors, self.errors

    async def assert_undisturbed(self) -> None:
        """Check that no number is missing so far, and that only numbers came."""
        await self.assert_losses_announced()
        disturbances = {"missing": self.missing, "gaps": self.gaps, "statuses": self.statuses}
        assert not any(disturbances.values()), disturbances


async def catch_up(*controls: Control) -> None:
    """Wait until each client has received a metric that was published from now on."""
    await asyncio.gather(*(control.catches_up() for control in controls))


async def show(stack: Stack) -> dict[str, Any]:
    """Return what `application.show` returns, in a thread, so that other clients keep reading."""
    shown: dict[str, Any] = await asyncio.to_thread(stack.get, "/faults/show")
    return shown


async def wait_for_clients(stack: Stack, count: int, seconds: float) -> None:
    """Wait until the server has this many clients."""

    async def condition() -> bool:
        return bool((await show(stack))["connected_clients"] == count)

    await eventually(condition, seconds, every_seconds=POLL_SECONDS)


def subscription_messages(source: str, *, fields: tuple[str, ...] = ("n",)) -> list[dict[str, Any]]:
    """Return the messages that subscribe to the numbers of a source, ten times per second."""
    return [
        {"type": "set_update_interval", "interval_seconds": 0.1},
        {"type": "set_batching", "batch_timeout_seconds": 0},
        {"type": "set_filters", "filters": {"sources": [source], "fields": list(fields)}},
        {"type": "subscribe", "metric_types": ["system"]},
    ]
