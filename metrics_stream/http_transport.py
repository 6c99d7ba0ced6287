"""Publishing over HTTP, for programs anywhere: to `/api/metrics/` of a server, with a token.

Needs nothing but msgspec and the standard library. The connection is asyncio's, since a native thread beside gevent may
use no sockets of Python (see native_threads.py), and http.client has no others.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from metrics_stream.core.encoding import encode_metric, epoch_seconds
from metrics_stream.core.metrics import BUILTIN_TYPES, MAX_METRIC_BYTES, SLUG_PATTERN, Metric, MetricError, MetricType
from metrics_stream.transport import BroadcastError, NeverTaken, Outcome, Parcel, Timestamp, TryLater, Way

PATH = "/api/metrics"

# Less than half of what a server takes by default, in metrics and in bytes.
MAX_PARCEL_METRICS = 400
MAX_PARCEL_BYTES = 1_000_000

# From connecting to the end of the answer.
REQUEST_SECONDS = 10.0
# However long a server says that it wants to be left alone.
MAX_RETRY_SECONDS = 60.0
MAX_ANSWER_BYTES = 4_000_000
MAX_HEADER_LINES = 100

_TYPES = {item.slug: item for item in BUILTIN_TYPES}
_VISIBLE = re.compile(r"[!-~]+")


class _Address(NamedTuple):
    host: str
    port: int
    path: str
    is_secure: bool

    def __str__(self) -> str:
        return f"http{'s' if self.is_secure else ''}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def _address_of(url: str, *, insecure: bool) -> _Address:
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise ValueError(f"url is {url!r}, which is no address: {error}") from error
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment or parts.username:
        # Without its beginning, in which a password may stand.
        shown = url.rpartition("@")[2]
        raise ValueError(f"url is {shown!r}; allowed: https://metrics.example.com and the like, without user and query")
    is_secure = parts.scheme == "https"
    if not (is_secure or insecure or _is_loopback(host)):
        raise ValueError(
            f"url is {url!r}: over http:// everybody on the way can read the token. Take https://, or say insecure=True"
        )
    path = f"{parts.path.rstrip('/').removesuffix(PATH)}{PATH}/"
    if not _VISIBLE.fullmatch(path):
        raise ValueError(f"url is {url!r}; its path must be of printable ASCII characters")
    return _Address(host, port or (443 if is_secure else 80), path, is_secure)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class HttpTransport:
    """Publishes over HTTP with a token."""

    # A request costs more than a message on a channel layer, and a server takes only so many a second.
    linger_seconds = 0.1

    def __init__(self, url: str, token: str, *, insecure: bool = False) -> None:
        """Raise ValueError for an address or token that cannot be one; nothing connects yet."""
        self._address = _address_of(url, insecure=insecure)
        if not _VISIBLE.fullmatch(token):
            raise ValueError("token is empty or holds spaces or line ends; it looks like mst_…, and an admin makes it")
        self._token = token
        self._tls = ssl.create_default_context() if self._address.is_secure else None
        self._source = socket.gethostname()

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
            source=self._source if source is None else source,
            max_bytes=MAX_METRIC_BYTES,
        )

    def begin(self) -> Way:
        """Return a way with a connection of its own."""
        return _HttpWay(_Connection(self._address, self._token, self._tls))


class _HttpWay:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def pack(self, metrics: Sequence[Metric]) -> Iterable[Parcel]:
        for bodies in _portions(metrics):
            # The body of a metric is what the server takes as an item.
            body = zlib.compress(b"\n".join(bodies), 6, wbits=31)
            yield _HttpParcel(self._connection, len(bodies), body, uuid.uuid4().hex)

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


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Mapping[str, Any]:
        """What the server says, empty where it says nothing that this understands."""
        try:
            content = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


@dataclass(frozen=True, slots=True)
class _HttpParcel:
    connection: _Connection
    count: int
    body: bytes
    key: str

    async def send(self) -> Outcome:
        address = self.connection.address
        answer = await self.connection.post(self.body, self.key)
        content = answer.content
        said = self.connection.without_token(str(content.get("message") or f"it says no more than {answer.status}"))
        message = f"{address} answered {answer.status}: {said}"
        match answer.status:
            case 202:
                return Outcome()
            case 207 | 422 if "errors" in content:
                return self._outcome(content)
            case 401 | 403:
                raise NeverTaken(message)
            case 429 | 503:
                raise TryLater(message, _retry_seconds(answer.headers.get("retry-after", "")))
            case 400 | 413 | 415 | 422:
                return Outcome(self.count, {str(content.get("error", answer.status)): message})
        raise BroadcastError(message)

    def _outcome(self, content: Mapping[str, Any]) -> Outcome:
        errors = [error for error in content["errors"] if isinstance(error, dict)]
        counts = Counter(str(error.get("code")) for error in errors)
        faults = {
            str(error.get("code")): self.connection.without_token(f"{error.get('path')}: {error.get('message')}")
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


def _retry_seconds(text: str) -> float:
    return min(float(text), MAX_RETRY_SECONDS) if text.isascii() and text.isdigit() else 1.0


class _Connection:
    """One connection to the server, opened when it is needed and kept for the next request."""

    def __init__(self, address: _Address, token: str, tls: ssl.SSLContext | None) -> None:
        self.address = address
        self._token = token
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def without_token(self, text: str) -> str:
        """Return a text of the server as it may be logged."""
        return text.replace(self._token, "mst_…")[:500]

    async def post(self, body: bytes, key: str) -> _Answer:
        """Return the answer to a body; raise BroadcastError when there is none."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                if self._streams is not None:
                    try:
                        return await self._post(body, key)
                    except (OSError, EOFError):
                        # It was kept open and the server closed it meanwhile, which is no news.
                        self.close()
                return await self._post(body, key)
        except TimeoutError as error:
            self.close()
            raise BroadcastError(f"{self.address} took more than {REQUEST_SECONDS:g} s to answer") from error
        except (OSError, EOFError, ValueError) as error:
            self.close()
            reason = self.without_token(str(error)) or type(error).__name__
            raise BroadcastError(f"{self.address} could not be reached: {reason}") from error
        except BaseException:
            self.close()
            raise

    async def _post(self, body: bytes, key: str) -> _Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.address.host, self.address.port, ssl=self._tls)
        reader, writer = self._streams
        head = (
            f"POST {self.address.path} HTTP/1.1\r\n"
            f"Host: {self.address.authority}\r\n"
            f"Authorization: Bearer {self._token}\r\n"
            "Content-Type: application/x-ndjson\r\n"
            "Content-Encoding: gzip\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Idempotency-Key: {key}\r\n"
            "Accept: application/json\r\n"
            "User-Agent: metrics_stream\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        status, headers = await _read_head(reader)
        while 100 <= status < 200:
            status, headers = await _read_head(reader)
        content = await _read_body(reader, headers)
        if content is None or headers.get("connection", "").lower() == "close":
            self.close()
        return _Answer(status, headers, content or b"")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def end(self) -> None:
        """Close the connection, and wait a moment until it is closed."""
        if self._streams is not None:
            writer = self._streams[1]
            self.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    line = await _read_line(reader)
    version, _, rest = line.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError(f"it does not speak HTTP/1.1: {line[:60]!r}")
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADER_LINES):
        if not (line := await _read_line(reader)):
            return int(rest[:3]), headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError(f"it sends more than {MAX_HEADER_LINES} headers")


async def _read_line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the connection ended within an answer")
    return line.decode("latin-1").rstrip("\r\n")


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes | None:
    """Return the body; None for one that the connection ends with, which nobody needs to read."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        content = b""
        while size := int((await _read_line(reader)).partition(";")[0], 16):
            content += await reader.readexactly(_bounded(len(content) + size) - len(content))
            await _read_line(reader)
        while await _read_line(reader):
            pass
        return content
    if "content-length" not in headers:
        return None
    return await reader.readexactly(_bounded(int(headers["content-length"])))


def _bounded(size: int) -> int:
    if not 0 <= size <= MAX_ANSWER_BYTES:
        raise ValueError(f"its answer has {size} bytes; allowed: at most {MAX_ANSWER_BYTES}")
    return size
