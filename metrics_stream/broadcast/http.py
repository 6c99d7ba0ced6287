"""Publishing over HTTP, for programs anywhere: to `/api/metrics/` of a server, with a token.

Needs nothing but msgspec and the standard library.
"""

from __future__ import annotations

import socket
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metrics_stream.broadcast.http_client import Connection, Server, server_of
from metrics_stream.broadcast.http_runs import HttpRunStore
from metrics_stream.broadcast.run_block import RunOptions, RunStore
from metrics_stream.broadcast.transport import Batch, Outcome, Sender, Timestamp
from metrics_stream.core.errors import BroadcastError, MetricError, NoAnswerError, RejectedError, RetryLaterError
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES, SLUG_PATTERN, MetricType
from metrics_stream.core.metrics.encoding import encode_metric, epoch_seconds
from metrics_stream.core.metrics.metric import MAX_METRIC_BYTES, Metric

PATH = "/api/metrics/"

# Less than half of what a server takes by default, in metrics and in bytes.
MAX_PARCEL_METRICS = 400
MAX_PARCEL_BYTES = 1_000_000

# From connecting to the end of the answer.
REQUEST_SECONDS = 10.0

_TYPES = {item.slug: item for item in BUILTIN_TYPES}


class HttpTransport:
    """Publishes over HTTP with a token."""

    # A request costs more than a message on a channel layer, and a server takes only so many a second.
    linger_seconds = 0.1

    def __init__(self, url: str, token: str, *, insecure: bool = False) -> None:
        """Raise ValueError for an address or token that cannot be one; nothing connects yet."""
        self._server = server_of(url, token, insecure=insecure)
        self.source = socket.gethostname()

    def check_reach(self) -> None:
        """Do nothing: whether the server is there is seen when something is sent."""

    def make_metric(self, metric_type: str, data: object, timestamp: Timestamp, source: str | None) -> Metric:
        """Return the metric that `data` is; whether its type exists, the server says."""
        known = _TYPES.get(metric_type)
        if known is None:
            if not SLUG_PATTERN.fullmatch(metric_type):
                raise MetricError(
                    f"unknown metric type {metric_type!r}; allowed: {', '.join(_TYPES)}, and those that the server adds"
                )
            known = MetricType(metric_type, metric_type)
        return encode_metric(
            known,
            data,
            timestamp=epoch_seconds(timestamp, time.time()),
            source=self.source if source is None else source,
            max_bytes=MAX_METRIC_BYTES,
        )

    def begin(self) -> Sender:
        """Return a way with a connection of its own."""
        return _HttpSender(self._server)

    def run_store(self, options: RunOptions) -> RunStore:
        """Return the server."""
        return HttpRunStore(self._server, options)


class _HttpSender:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = Connection(server, request_seconds=REQUEST_SECONDS)

    def pack(self, metrics: Sequence[Metric]) -> Iterable[Batch]:
        for bodies in _portions(metrics):
            # The body of a metric is what the server takes as an item.
            body = zlib.compress(b"\n".join(bodies), 6, wbits=31)
            yield _HttpBatch(self._server, self._connection, len(bodies), body, uuid.uuid4().hex)

    async def close(self) -> None:
        await self._connection.end()


def _portions(metrics: Sequence[Metric]) -> Iterator[list[bytes]]:
    portion: list[bytes] = []
    size = 0
    for metric in metrics:
        if portion and (len(portion) >= MAX_PARCEL_METRICS or size + len(metric.body) > MAX_PARCEL_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(metric.body)
        size += len(metric.body)
    if portion:
        yield portion


@dataclass(frozen=True, slots=True)
class _HttpBatch:
    server: Server
    connection: Connection
    count: int
    body: bytes
    key: str

    async def send(self) -> Outcome:
        address = self.server.address.below(PATH)
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "Idempotency-Key": self.key,
        }
        try:
            answer = await self.connection.post(address, self.body, headers)
        except NoAnswerError as error:
            raise BroadcastError(str(error)) from error
        content = answer.content
        said = self.server.without_token(str(content.get("message") or f"it says no more than {answer.status}"))
        message = f"{address} answered {answer.status}: {said}"
        match answer.status:
            case 202:
                return Outcome()
            case 207 | 422 if "errors" in content:
                return self._outcome(content)
            case 401 | 403:
                raise RejectedError(message)
            case 429 | 503:
                raise RetryLaterError(message, answer.retry_seconds)
            case 400 | 413 | 415 | 422:
                return Outcome(self.count, {str(content.get("error", answer.status)): message})
        raise BroadcastError(message)

    def _outcome(self, content: Mapping[str, Any]) -> Outcome:
        errors = [error for error in content["errors"] if isinstance(error, dict)]
        counts = Counter(str(error.get("code")) for error in errors)
        faults = {
            str(error.get("code")): self.server.without_token(f"{error.get('path')}: {error.get('message')}")
            for error in reversed(errors)
        }
        accepted = content.get("accepted")
        refused = self.count - accepted if isinstance(accepted, int) else len(errors)
        return Outcome(
            min(max(refused, 0), self.count),
            {
                code: f"{counts[code]} metrics were refused as {code}, the first: {text}"
                for code, text in faults.items()
            },
        )
