"""The clients of a soak: some stay, some come back with their position, some come and go as they like."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

from benchmarks.drain import Drain
from benchmarks.payload import DEMO_TYPES, FIELDS
from benchmarks.soak.producer import AGENTS, SOURCES

# A server that does not answer within this time counts as a failed connection.
OPEN_SECONDS = 30.0
# How long those who come and go stay, and those who come back.
STAY_SECONDS = (2.0, 40.0)
RETURN_AFTER_SECONDS = (20.0, 90.0)
AWAY_SECONDS = (0.5, 5.0)
# Shares of those who come and go: who ends the TCP connection without a close, and who stops reading before that.
ABORTING = 0.35
DEAF = 0.1
DEAF_SECONDS = 5.0


class Numbered(msgspec.Struct):
    """The number of a metric, or of an agent in it."""

    number: int


class NumberedMetric(msgspec.Struct):
    """What a client looks at in a metric."""

    metric_type: str
    source: str
    timestamp: datetime
    data: Numbered | list[Numbered]

    @property
    def number(self) -> int:
        """The number of this metric among those of its type and source."""
        return self.data[0].number if isinstance(self.data, list) else self.data.number


class Head(msgspec.Struct):
    """What is read of every message."""

    type: str
    position: str | None = None
    recovered: bool | None = None
    code: str | None = None
    reason: str | None = None


class Update(msgspec.Struct):
    """A message with one metric."""

    data: NumberedMetric


class Batch(msgspec.Struct):
    """A message with several metrics."""

    data: list[NumberedMetric]


read_head = msgspec.json.Decoder(Head).decode
read_update = msgspec.json.Decoder(Update).decode
read_batch = msgspec.json.Decoder(Batch).decode
encode = msgspec.json.Encoder().encode


class Tally:
    """What all clients have seen; `ages` are seconds, of clients that stay, since they were last taken."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.drained: Counter[str] = Counter()
        self.ages: list[float] = []

    def take_ages(self) -> list[float]:
        """Return the ages since the last call, in ascending order."""
        ages, self.ages = sorted(self.ages), []
        return ages


class Ledger:
    """Counts the metrics of one client, and which numbers are missing or came before."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._last: dict[tuple[str, str], int] = {}
        self.position: str | None = None
        self._now = 0.0

    def take(self, text: bytes) -> None:
        """Read a message of the server."""
        head = read_head(text)
        if head.position is not None:
            self.position = head.position
        counts = self._tally.counts
        self._now = time.time()
        match head.type:
            case "metric_update":
                self._take_metric(read_update(text).data)
            case "metric_batch":
                for metric in read_batch(text).data:
                    self._take_metric(metric)
            case "gap":
                counts[f"gaps: {head.reason}"] += 1
            case "error":
                counts[f"error {head.code}"] += 1
        if head.recovered is not None:
            counts["recovered" if head.recovered else "not recovered"] += 1

    def _take_metric(self, metric: NumberedMetric) -> None:
        key = (metric.metric_type, metric.source)
        number, last = metric.number, self._last.get(key)
        self._tally.counts["metrics"] += 1
        self._tally.ages.append(self._now - metric.timestamp.timestamp())
        if last is not None and number <= last:
            self._tally.counts["duplicate"] += 1
            return
        if last is not None:
            self._tally.counts["missing"] += number - last - 1
        self._last[key] = number


async def stay(url: str, tally: Tally, seed: int) -> None:
    """Receive everything until cancelled, and come back at once when the connection ends."""
    while True:
        ledger = Ledger(tally)
        try:
            async with await _connect(url) as socket:
                await _send(socket, {"type": "subscribe", "metric_types": DEMO_TYPES})
                while True:
                    ledger.take(await socket.recv(decode=False))
        except (OSError, websockets.WebSocketException):
            pass
        tally.counts["connections of steady clients that ended"] += 1
        await asyncio.sleep(1 + seed % 5)


async def come_back(url: str, tally: Tally, seed: int) -> None:
    """Receive everything, leave now and then, with a close or without, and return with the last position."""
    chance, ledger = random.Random(seed), Ledger(tally)
    while True:
        with contextlib.suppress(TimeoutError, OSError, websockets.WebSocketException):
            async with AsyncExitStack() as exits:
                socket = await _connect(url)
                exits.push_async_callback(_leave, socket, aborting=chance.random() < 0.5)
                wish = {"type": "subscribe", "metric_types": DEMO_TYPES}
                await _send(socket, wish if ledger.position is None else {**wish, "resume_from": ledger.position})
                async with asyncio.timeout(chance.uniform(*RETURN_AFTER_SECONDS)):
                    while True:
                        ledger.take(await socket.recv(decode=False))
        tally.counts["returns"] += 1
        await asyncio.sleep(chance.uniform(*AWAY_SECONDS))


async def come_and_go(url: str, tally: Tally, seed: int) -> None:
    """Connect, change the selection and the delivery now and then, leave in one of several ways, and begin anew.

    What comes is thrown away: it costs the machine less than to read it.
    """
    chance = random.Random(seed)
    while True:
        is_deaf, is_aborting = chance.random() < DEAF, chance.random() < ABORTING
        try:
            client = await Drain.connect(url, {}, tally.drained, is_stalled=is_deaf)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DEAF_SECONDS if is_deaf else chance.uniform(*STAY_SECONDS)):
                        await _change_wishes(client, chance)
            finally:
                leave = client.abort if is_deaf or is_aborting else client.close
                leave()
        except (TimeoutError, OSError) as error:
            tally.counts[f"visit refused: {type(error).__name__}"] += 1
        tally.counts["visits"] += 1
        await asyncio.sleep(chance.uniform(0.0, 1.0))


async def _connect(url: str) -> ClientConnection:
    return await websockets.connect(url, max_size=None, open_timeout=OPEN_SECONDS, close_timeout=1)


async def _leave(socket: ClientConnection, *, aborting: bool) -> None:
    if aborting:
        socket.transport.abort()
    await socket.close()


async def _change_wishes(client: Drain, chance: random.Random) -> None:
    for wish in wishes(chance):
        if client.transport.is_closing():
            return
        client.send([wish])
        await asyncio.sleep(chance.uniform(0.2, 6.0))


def wishes(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Yield messages without end, the first of which subscribes."""
    yield {"type": "subscribe", "metric_types": _some(chance, DEMO_TYPES), **_past(chance)}
    kinds = (_filters, _interval, _batching, _types, _latest, _ping, _replay)
    while True:
        yield chance.choices(kinds, (60, 40, 40, 40, 20, 10, 1))[0](chance)


def _some(chance: random.Random, names: tuple[str, ...]) -> list[str]:
    return chance.sample(names, chance.randint(1, len(names)))


def _past(chance: random.Random) -> dict[str, Any]:
    return {"backfill_seconds": chance.choice((30, 120, 300))} if chance.random() < 0.5 else {}


def _filters(chance: random.Random) -> dict[str, Any]:
    names = {
        "sources": SOURCES,
        "fields": ("number", *FIELDS),
        "agent_ids": tuple(f"agent_{number}" for number in range(AGENTS)),
    }
    return {"type": "set_filters", "filters": {name: _some(chance, names[name]) for name in _some(chance, (*names,))}}


def _interval(chance: random.Random) -> dict[str, Any]:
    return {"type": "set_update_interval", "interval_seconds": round(chance.uniform(0.1, 5.0), 2)}


def _batching(chance: random.Random) -> dict[str, Any]:
    return {
        "type": "set_batching",
        "batch_size": chance.choice((1, 10, 100, 1000)),
        "batch_timeout_seconds": round(chance.uniform(0.0, 3.0), 2),
        "mode": chance.choice(("all", "latest", "aggregate")),
    }


def _types(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.3:
        return {"type": "unsubscribe", "metric_types": _some(chance, DEMO_TYPES)}
    return {"type": "subscribe", "metric_types": _some(chance, DEMO_TYPES), **_past(chance)}


def _latest(chance: random.Random) -> dict[str, Any]:
    return {"type": "get_latest", "metric_types": _some(chance, DEMO_TYPES)}


def _ping(chance: random.Random) -> dict[str, Any]:
    return {"type": "ping", "ref": chance.randrange(10**6)}


def _replay(chance: random.Random) -> dict[str, Any]:
    begin = datetime.fromtimestamp(datetime.now(UTC).timestamp() - chance.uniform(20, 200), UTC)
    return {"type": "replay", "from": begin.isoformat().replace("+00:00", "Z"), "speed": chance.choice((1.0, 4.0))}


async def _send(socket: ClientConnection, message: dict[str, Any]) -> None:
    await socket.send(encode(message).decode())
