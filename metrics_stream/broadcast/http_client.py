"""A connection to a server, over which programs publish metrics and start test runs.

Needs only msgspec and the standard library. The connection uses asyncio: beside gevent, a native thread must not use
Python's sockets (see native_threads.py), and http.client has no others.
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

# The longest wait that is accepted from the header `Retry-After`.
MAX_RETRY_SECONDS = 60.0
MAX_ANSWER_BYTES = 4_000_000
MAX_HEADER_LINES = 100

_WITHOUT_BODY = {204, 304}
_REDIRECTS = {301, 302, 307, 308}

_VISIBLE = re.compile(r"[!-~]+")


class Address(NamedTuple):
    """An address on a server; the path of the server itself is empty or ends without a slash."""

    host: str
    port: int
    path: str
    is_secure: bool

    def __str__(self) -> str:
        return f"http{'s' if self.is_secure else ''}://{self.authority}{self.path}"

    def below(self, path: str) -> Address:
        """Return the address of a path below this one."""
        return self._replace(path=f"{self.path}{path}")

    @property
    def authority(self) -> str:
        """Return host and port as in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def address_of(url: str, *, insecure: bool) -> Address:
    """Return the address of a server from that of its first page or of `/api/metrics/`; raise ValueError."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise ValueError(f"url is {url!r}, which is not an address: {error}") from error
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment or parts.username:
        # The part before the @ may hold a password.
        shown = url.rpartition("@")[2]
        raise ValueError(f"url is {shown!r}; allowed: one like https://metrics.example.com, without user and query")
    is_secure = parts.scheme == "https"
    if not (is_secure or insecure or _is_loopback(host)):
        raise ValueError(
            f"url is {url!r}: over http:// the network can read the token. Use https://, or set insecure=True"
        )
    path = parts.path.rstrip("/").removesuffix("/api/metrics")
    if path and not _VISIBLE.fullmatch(path):
        raise ValueError(f"url is {url!r}; its path must have printable ASCII characters only")
    return Address(host, port or (443 if is_secure else 80), path, is_secure)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Server:
    """The address of a server, and a program's token for it."""

    address: Address
    token: str = field(repr=False)
    tls: ssl.SSLContext | None

    def without_token(self, text: str) -> str:
        """Return a text of the server as it may be logged."""
        return text.replace(self.token, "mst_…")[:500]

    def describe_answer(self, address: Address, answer: Answer) -> str:
        """Return an answer that is an error in words."""
        message = answer.content.get("message")
        if answer.status in _REDIRECTS:
            message = f"the server is at {answer.headers.get('location', 'another address')}; use that address"
        text = f": {self.without_token(str(message))}" if message else " without a message"
        return f"{address} answered {answer.status}{text}"


def server_of(url: str, token: str, *, insecure: bool) -> Server:
    """Return a server; raise ValueError for an invalid address or token. Nothing connects yet."""
    address = address_of(url, insecure=insecure)
    if not _VISIBLE.fullmatch(token):
        raise ValueError("token is empty or holds spaces or line ends; an admin makes one, and it looks like mst_…")
    return Server(address, token, ssl.create_default_context() if address.is_secure else None)


class Answer(NamedTuple):
    """The answer of a server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Mapping[str, Any]:
        """Return the JSON object in the body; empty when the body is anything else."""
        try:
            content = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def retry_seconds(self) -> float:
        """Return how long the server asks to wait before the next request."""
        text = self.headers.get("retry-after", "")
        return min(float(text), MAX_RETRY_SECONDS) if text.isascii() and text.isdigit() else 1.0


class Connection:
    """One connection to the server, opened when it is needed and kept open for the next request."""

    def __init__(self, server: Server, *, request_seconds: float) -> None:
        """`request_seconds` last from the start of the connection to the end of the answer."""
        self._server = server
        self._request_seconds = request_seconds
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, address: Address, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a body to an address of the server and return the answer; raise NoAnswerError."""
        request = self._make_head(address, len(body), headers) + body
        try:
            async with asyncio.timeout(self._request_seconds):
                if self._streams is not None:
                    try:
                        return await self._send(request)
                    except (OSError, EOFError):
                        # The server closed the connection that was kept open, which is not an error.
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

    def _make_head(self, address: Address, length: int, headers: Mapping[str, str]) -> bytes:
        lines = {
            "Host": address.authority,
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
        """Close the connection; the next request opens a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def end(self) -> None:
        """Close the connection, and wait up to one second until it is closed."""
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
        raise ValueError(f"the server does not speak HTTP/1.1: {line[:60]!r}")
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADER_LINES):
        if not (line := await _read_line(reader)):
            return int(rest[:3]), headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError(f"the server sent more than {MAX_HEADER_LINES} headers")


async def _read_line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the connection ended in the middle of an answer")
    return line.decode("latin-1").rstrip("\r\n")


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """Return the body, which has a length, comes in chunks or ends with the connection."""
    content = b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await _read_line(reader)).partition(";")[0], 16):
            content += await reader.readexactly(_check_size(len(content) + size) - len(content))
            await _read_line(reader)
        while await _read_line(reader):
            pass
        return content
    if "content-length" not in headers:
        while part := await reader.read(65_536):
            content += part
            _check_size(len(content))
        return content
    return await reader.readexactly(_check_size(int(headers["content-length"])))


def _check_size(size: int) -> int:
    if not 0 <= size <= MAX_ANSWER_BYTES:
        raise ValueError(f"the answer has {size} bytes; allowed: at most {MAX_ANSWER_BYTES}")
    return size
