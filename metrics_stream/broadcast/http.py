"""Publish over HTTP, from programs on any machine: to `/api/metrics/` of a server, with a token.

Needs only msgspec and the standard library.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

from metrics_stream.broadcast import bodies
from metrics_stream.broadcast.http_client import Connection, Server, server_of
from metrics_stream.broadcast.http_runs import HttpRunStore
from metrics_stream.broadcast.run_block import RunOptions, RunStore
from metrics_stream.broadcast.transport import Batch, Outcome, Sender, Timestamp
from metrics_stream.core.errors import BroadcastError, MetricError, NoAnswerError, RejectedError, RetryLaterError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.annotations import Beside
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES, SLUG_PATTERN, MetricType
from metrics_stream.core.metrics.encoding import encode_metric, encode_metrics, epoch_seconds
from metrics_stream.core.metrics.items import slug_of
from metrics_stream.core.metrics.metric import MAX_METRIC_BYTES, Metric
from metrics_stream.program import PROGRAM_HEADER, program_name

T = TypeVar("T")

METRICS_PATH = "/api/metrics/"

# From the start of the connection to the end of the answer.
REQUEST_SECONDS = 10.0

_TYPES = {item.slug: item for item in BUILTIN_TYPES}


class HttpTransport:
    """Publishes over HTTP with a token."""

    # A request costs more than a message on a channel layer, and a server accepts only so many per second.
    linger_seconds = 0.1

    def __init__(self, url: str, token: str, *, insecure: bool = False) -> None:
        """Raise ValueError for an invalid address or token; nothing connects yet."""
        self._server = server_of(url, token, insecure=insecure)
        self.source = socket.gethostname()

    def check_reach(self) -> None:
        """Do nothing: whether the server can be reached shows when something is sent."""

    def make_metric(
        self, metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]
    ) -> Metric:
        """Return `data` as an encoded metric; the server decides whether its type exists."""
        return self._encode(encode_metric, metric_type, data, timestamp, beside)

    def make_metrics(
        self, metric_type: str, data: object, timestamp: Timestamp = None, **beside: Unpack[Beside]
    ) -> list[Metric]:
        """Return `data` as one metric, or a large set of rows as several."""
        return self._encode(encode_metrics, metric_type, data, timestamp, beside)

    def _encode(
        self, encode: Callable[..., T], metric_type: str, data: object, timestamp: Timestamp, beside: Beside
    ) -> T:
        slug = slug_of(metric_type) or ""
        known = _TYPES.get(slug)
        if known is None:
            if not SLUG_PATTERN.fullmatch(slug):
                raise MetricError(
                    f"unknown metric type {quote(metric_type)}; allowed: {', '.join(_TYPES)}, and those that the "
                    "server adds"
                )
            known = MetricType(slug, slug)
        source = beside.get("source")
        return encode(
            known,
            data,
            timestamp=epoch_seconds(timestamp, time.time()),
            source=self.source if source is None else source,
            max_bytes=MAX_METRIC_BYTES,
            units=beside.get("units"),
            windows=beside.get("windows"),
        )

    def open_sender(self) -> Sender:
        """Return a sender with its own connection."""
        return _HttpSender(self._server)

    def run_store(self, options: RunOptions) -> RunStore:
        """Return a store at the server."""
        return HttpRunStore(self._server, options)


class _HttpSender:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = Connection(server, request_seconds=REQUEST_SECONDS)

    def pack(self, metrics: Sequence[Metric]) -> Iterable[Batch]:
        for items in bodies.split(metrics):
            yield _HttpBatch(self._server, self._connection, len(items), bodies.pack(items), uuid.uuid4().hex)

    async def close(self) -> None:
        await self._connection.end()


@dataclass(frozen=True, slots=True)
class _HttpBatch:
    server: Server
    connection: Connection
    count: int
    body: bytes
    key: str

    async def send(self) -> Outcome:
        address = self.server.address.below(METRICS_PATH)
        headers = {**bodies.HEADERS, "Idempotency-Key": self.key, PROGRAM_HEADER: program_name()}
        try:
            answer = await self.connection.post(address, self.body, headers)
        except NoAnswerError as error:
            raise BroadcastError(str(error)) from error
        content = answer.content
        message = self.server.describe_answer(address, answer)
        match answer.status:
            case 202:
                return Outcome()
            case 207 | 422 if "errors" in content:
                return self._read_outcome(content)
            case 401 | 403:
                raise RejectedError(message)
            case 429 | 503:
                raise RetryLaterError(message, answer.retry_seconds)
            case 400 | 413 | 415 | 422:
                return Outcome(self.count, {str(content.get("error", answer.status)): message})
        raise BroadcastError(message)

    def _read_outcome(self, content: Mapping[str, Any]) -> Outcome:
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
