"""A connection to a server, for programs anywhere: what they publish and the runs that they start go over it.

Needs nothing but msgspec and the standard library. The connection is asyncio's, since a native thread beside gevent may
use no sockets of Python (see native_threads.py), and http.client has no others.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from metrics_stream.core.errors import NoAnswerError

# However long a server says that it wants to be left alone.
MAX_RETRY_SECONDS = 60.0
MAX_ANSWER_BYTES = 4_000_000
MAX_HEADER_LINES = 100

_WITHOUT_BODY = {204, 304}

_VISIBLE = re.compile(r"[!-~]+")


class Address(NamedTuple):
    """Where something is on a server; of the server itself the path is empty or ends without a slash."""

    host: str
    port: int
    path: str
    is_secure: bool

    def __str__(self) -> str:
        return f"http{'s' if self.is_secure else ''}://{self.monitor}{self.path}"

    def below(self, path: str) -> Address:
        """Return the address of something on this server."""
        return self._replace(path=f"{self.path}{path}")

    @property
    def monitor(self) -> str:
        """Host and port, as the header `Host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def address_of(url: str, *, insecure: bool) -> Address:
    """Return where a server is, whose path may be that of its first page or of `/api/metrics/`; raise ValueError."""
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
    path = parts.path.rstrip("/").removesuffix("/api/metrics")
    if path and not _VISIBLE.fullmatch(path):
        raise ValueError(f"url is {url!r}; its path must be of printable ASCII characters")
    return Address(host, port or (443 if is_secure else 80), path, is_secure)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is, and what lets a program in there."""

    address: Address
    token: str = field(repr=False)
    tls: ssl.SSLContext | None

    def without_token(self, text: str) -> str:
        """Return a text of the server as it may be logged."""
        return text.replace(self.token, "mst_…")[:500]


def server_of(url: str, token: str, *, insecure: bool) -> Server:
    """Return a server; raise ValueError for an address or token that cannot be one. Nothing connects yet."""
    address = address_of(url, insecure=insecure)
    if not _VISIBLE.fullmatch(token):
        raise ValueError("token is empty or holds spaces or line ends; it looks like mst_…, and an admin makes it")
    return Server(address, token, ssl.create_default_context() if address.is_secure else None)


class Answer(NamedTuple):
    """What a server answered."""

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

    @property
    def retry_seconds(self) -> float:
        """How long the server wants to be left alone."""
        text = self.headers.get("retry-after", "")
        return min(float(text), MAX_RETRY_SECONDS) if text.isascii() and text.isdigit() else 1.0


class Connection:
    """One connection to the server, opened when it is needed and kept for the next request."""

    def __init__(self, server: Server, *, request_seconds: float) -> None:
        """`request_seconds` are from connecting to the end of the answer."""
        self._server = server
        self._request_seconds = request_seconds
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, address: Address, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a body that is sent to an address of the server; raise NoAnswerError."""
        request = self._head(address, len(body), headers) + body
        try:
            async with asyncio.timeout(self._request_seconds):
                if self._streams is not None:
                    try:
                        return await self._send(request)
                    except (OSError, EOFError):
                        # It was kept open and the server closed it meanwhile, which is no news.
                        self.close()
                return await self._send(request)
        except TimeoutError as error:
            self.close()
            raise NoAnswerError(f"{address} took more than {self._request_seconds:g} s to answer") from error
        except (OSError, EOFError, ValueError) as error:
            self.close()
            reason = self._server.without_token(str(error)) or type(error).__name__
            raise NoAnswerError(f"{address} could not be reached: {reason}") from error
        except BaseException:
            self.close()
            raise

    def _head(self, address: Address, length: int, headers: Mapping[str, str]) -> bytes:
        lines = {
            "Host": address.monitor,
            "Authorization": f"Bearer {self._server.token}",
            **headers,
            "Content-Length": str(length),
            "Accept": "application/json",
            "User-Agent": "metrics_stream",
        }
        fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {address.path} HTTP/1.1\r\n{fields}\r\n".encode()

    async def _send(self, request: bytes) -> Answer:
        if self._streams is None:
            address = self._server.address
            self._streams = await asyncio.open_connection(address.host, address.port, ssl=self._server.tls)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        status, headers = await _read_head(reader)
        while 100 <= status < 200:
            status, headers = await _read_head(reader)
        is_last = not ({"content-length", "transfer-encoding"} & headers.keys()) and status not in _WITHOUT_BODY
        content = b"" if status in _WITHOUT_BODY else await _read_body(reader, headers)
        if is_last or headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, content)

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


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """Return the body, whose length is said, or which ends with the connection."""
    content = b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await _read_line(reader)).partition(";")[0], 16):
            content += await reader.readexactly(_bounded(len(content) + size) - len(content))
            await _read_line(reader)
        while await _read_line(reader):
            pass
        return content
    if "content-length" not in headers:
        while part := await reader.read(65_536):
            content += part
            _bounded(len(content))
        return content
    return await reader.readexactly(_bounded(int(headers["content-length"])))


def _bounded(size: int) -> int:
    if not 0 <= size <= MAX_ANSWER_BYTES:
        raise ValueError(f"its answer has {size} bytes; allowed: at most {MAX_ANSWER_BYTES}")
    return size
