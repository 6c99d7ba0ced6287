"""The healthy: a producer that publishes over HTTP with a token, and clients that receive its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import msgspec
import websockets

SOURCE = "healthy"
REQUESTS_PER_SECOND = 10.0
METRICS_PER_REQUEST = 5


class Sent(msgspec.Struct):
    """The instant at which a metric was due, in seconds since 1970."""

    sent_at: float
    number: int


class SentMetric(msgspec.Struct):
    """What a client looks at in a metric."""

    data: Sent


class Frame(msgspec.Struct):
    """What a client looks at in a frame."""

    type: str
    data: SentMetric | list[SentMetric] | None = None


read_frame = msgspec.json.Decoder(Frame).decode


@dataclass
class Seen:
    """What one client received during a round: the ages in seconds, and the numbers."""

    ages: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    gaps: int = 0


class Client:
    """Receives the metrics of SOURCE; `interval_seconds` None keeps the default delivery."""

    def __init__(self, url: str, headers: Mapping[str, str], interval_seconds: float | None) -> None:
        self._url = f"ws{url.removeprefix('http')}/ws/metrics/"
        self._headers = headers
        self._interval = interval_seconds
        self.seen = Seen()

    async def __aenter__(self) -> Self:
        self._socket = await websockets.connect(self._url, additional_headers=self._headers, max_size=None)
        messages: list[dict[str, Any]] = [{"type": "set_filters", "filters": {"sources": [SOURCE]}}]
        if self._interval is not None:
            messages.append({"type": "set_update_interval", "interval_seconds": self._interval})
            messages.append({"type": "set_batching", "batch_timeout_seconds": 0.0})
        messages.append({"type": "subscribe", "metric_types": ["system"]})
        for message in messages:
            await self._socket.send(msgspec.json.encode(message).decode())
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        async for text in self._socket:
            if text[:40].startswith(('{"type":"metric_', '{"type":"gap"')):
                self._take(read_frame(text))

    def _take(self, frame: Frame) -> None:
        now, seen = time.time(), self.seen
        if frame.type == "gap":
            seen.gaps += 1
        metrics = frame.data if isinstance(frame.data, list) else [frame.data] if frame.data is not None else []
        seen.ages += [now - metric.data.sent_at for metric in metrics]
        seen.numbers += [metric.data.number for metric in metrics]

    def take_seen(self) -> Seen:
        """Return what came since the last call."""
        seen, self.seen = self.seen, Seen()
        return seen


class Publisher:
    """Publishes at a steady rate; keeps the seconds of each request, and the statuses other than 202."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self.seconds: list[float] = []
        self.refused: list[int] = []
        self._number = 0

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=30)
        self._requests: set[asyncio.Task[None]] = set()
        self._loop = asyncio.create_task(self._publish())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, *self._requests, return_exceptions=True)
        await self._client.aclose()

    async def _publish(self) -> None:
        due = time.time()
        while True:
            due += 1 / REQUESTS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.time()))
            # A request that takes long does not delay the next one.
            request = asyncio.create_task(self._post(due))
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _post(self, due: float) -> None:
        metrics = []
        for _ in range(METRICS_PER_REQUEST):
            data = {"sent_at": due, "number": self._number, "throughput_tps": 900.5, "error_rate": 0.002}
            metrics.append({"metric_type": "system", "source": SOURCE, "data": data})
            self._number += 1
        try:
            answer = await self._client.post("/api/metrics/", json=metrics)
        except httpx.HTTPError:
            self.refused.append(0)
            return
        if answer.status_code != 202:
            self.refused.append(answer.status_code)
        self.seconds.append(time.time() - due)

    def take_seconds(self) -> list[float]:
        """Return the seconds of the requests since the last call."""
        seconds, self.seconds = self.seconds, []
        return seconds
