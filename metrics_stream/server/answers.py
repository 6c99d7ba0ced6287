"""The answer to a refused request: a status and a sentence, as a response of an application or as bytes."""

from __future__ import annotations

from asyncio import WriteTransport
from collections.abc import Awaitable, Callable
from typing import Any

from metrics_stream.server.request_head import RefusedRequestError

Send = Callable[[Any], Awaitable[None]]


def _headers_of(error: RefusedRequestError, length: int, connection: str = "close") -> list[tuple[str, str]]:
    return [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", str(length)),
        ("cache-control", "no-store"),
        ("connection", connection),
        *((name.replace("_", "-"), value) for name, value in error.headers.items()),
    ]


def write_answer(transport: WriteTransport, error: RefusedRequestError) -> None:
    """Write the answer to a transport."""
    body = f"{error}\n".encode()
    lines = [f"HTTP/1.1 {error.status.value} {error.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in _headers_of(error, len(body))]
    transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def answer_with(
    error: RefusedRequestError, *, connection: str = "close"
) -> Callable[[Any, Any, Send], Awaitable[None]]:
    """Return an ASGI application whose only response is the answer; `connection` is the header of that name."""

    async def answer(scope: Any, receive: Any, send: Send) -> None:
        del scope, receive
        body = f"{error}\n".encode()
        headers = [
            (name.encode(), value.encode("latin-1")) for name, value in _headers_of(error, len(body), connection)
        ]
        await send({"type": "http.response.start", "status": error.status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer
