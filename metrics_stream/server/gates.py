"""ASGI applications around the others: they refuse what is not for this server, and say what would allow it.

They work on every ASGI server, daphne included, and before Django reads the body of a request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Any

from django.http.request import split_domain_port, validate_host

from metrics_stream.core.formatting import quote
from metrics_stream.core.origins import Origin, parse_origin
from metrics_stream.server.answers import answer_with
from metrics_stream.server.refusals import Refusal, count_refusal
from metrics_stream.server.request_head import RefusedRequestError

logger = logging.getLogger(__name__)

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def _header(scope: Scope, wanted: bytes) -> str | None:
    """Return the value of a header, None without it."""
    found = [value for name, value in scope["headers"] if name == wanted]
    return b",".join(found).decode("latin-1") if found else None


def _client(scope: Scope) -> str:
    return str((scope.get("client") or ["this machine"])[0])


async def refuse_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse the handshake of a WebSocket with 403: its address does not exist."""
    del receive
    count_refusal(
        Refusal.UNKNOWN_SOCKET,
        "a WebSocket of %s to %s is refused: there is none; metrics are at ws/metrics/ below the first page",
        *(_client(scope), quote(scope["path"])),
    )
    await send({"type": "websocket.close"})


class SameOrigin:
    """Accepts programs, which send no Origin, and browsers with a page of this server: same scheme, host and port.

    Channels' own validators compare hosts only, so they would accept a page on another port of the same machine.
    """

    def __init__(self, application: Application, *, hosts: list[str], origins: list[str]) -> None:
        """`hosts` are the names of this server, `origins` further origins whose pages may open WebSockets."""
        self._application = application
        self._hosts = hosts
        self._origins = {origin for item in origins if (origin := parse_origin(item)) is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the WebSocket, or refuse its handshake with 403."""
        text = _header(scope, b"origin")
        remedy = None if text is None else self._find_remedy(scope, text)
        if text is None or remedy is None:
            await self._application(scope, receive, send)
            return
        count_refusal(
            Refusal.FOREIGN_ORIGIN,
            "a page of %s may not open a WebSocket here (client %s): %s",
            *(quote(text), _client(scope), remedy),
        )
        await send({"type": "websocket.close"})

    def _find_remedy(self, scope: Scope, text: str) -> str | None:
        """Return what would allow pages of an origin to open WebSockets, None if they may."""
        origin = parse_origin(text)
        if origin is None:
            # `null` stands for every page in a sandbox and every file, so nobody can be meant by it.
            return "this is no origin that can be allowed; allowed: scheme://host[:port], http or https"
        if origin in self._origins:
            return None
        scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
        here = parse_origin(f"{scheme}://{_header(scope, b'host') or ''}")
        if here is None or here[1:] != Origin(scheme, origin.host, origin.port)[1:]:
            return self._describe_foreign(origin, here)
        if not validate_host(origin.host, self._hosts):
            # An attacker can point a name of their own at this machine.
            return f"if this is a name of this server, add {origin.host} to ALLOWED_HOSTS"
        return None if here == origin else self._describe_foreign(origin, here)

    def _describe_foreign(self, origin: Origin, here: Origin | None) -> str:
        if here is not None and origin.host == here.host and origin.scheme == "https" and here.scheme == "http":
            return (
                "this server was reached over http; if a proxy terminates TLS, it must set X-Forwarded-Proto, and "
                "FORWARDED_ALLOW_IPS must name its address"
            )
        return f"the server is {here or 'unnamed'}; if pages of that origin may, add {origin} to ALLOWED_ORIGINS"


class KnownHosts:
    """Answers requests with a Host that is not one of this server 400, and some paths whatever the Host is.

    Django does the first, too, with two log lines for each request.
    """

    def __init__(
        self, application: Application, *, hosts: list[str], open_paths: Callable[[], Collection[str]]
    ) -> None:
        """`open_paths` returns the paths, below the root path, that are answered for every Host."""
        self._application = application
        self._hosts = hosts
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse a request."""
        text = _header(scope, b"host")
        host = "" if text is None else split_domain_port(text)[0]
        if text is None or (host and validate_host(host, self._hosts)):
            await self._application(scope, receive, send)
            return
        own = next((pattern.lstrip(".") for pattern in self._hosts), "")
        if own and scope["path"].removeprefix(scope.get("root_path", "")) in self._open_paths():
            # Django asks for the host at many places; these pages do not show it.
            headers = [pair for pair in scope["headers"] if pair[0] not in (b"host", b"x-forwarded-host")]
            await self._application({**scope, "headers": [*headers, (b"host", own.encode())]}, receive, send)
            return
        told = f"the host {quote(text)} is none of this server; if it is, add {host or 'its name'} to ALLOWED_HOSTS"
        count_refusal(Refusal.FOREIGN_HOST, "a request from %s is answered 400: %s", _client(scope), told)
        error = RefusedRequestError(HTTPStatus.BAD_REQUEST, Refusal.FOREIGN_HOST, told)
        await answer_with(error)(scope, receive, send)


def with_upgrade_hint(application: Application, socket_path: str) -> Application:
    """Return an application that answers requests without an upgrade at the WebSocket's path with 426."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].removeprefix(scope.get("root_path", "")) != socket_path:
            await application(scope, receive, send)
            return
        told = (
            "this is the address of a WebSocket, and the request has no upgrade; a proxy in between must pass the "
            "headers Upgrade and Connection, over HTTP/1.1"
        )
        count_refusal(Refusal.NO_UPGRADE, "a request from %s is answered 426: %s", _client(scope), told)
        error = RefusedRequestError(HTTPStatus.UPGRADE_REQUIRED, Refusal.NO_UPGRADE, told, Upgrade="websocket")
        await answer_with(error, connection="Upgrade, close")(scope, receive, send)

    return answer


class RootPath:
    """Serves the application below a path of the site, `/m` for example, or at its root with an empty one.

    A proxy may take the path off the address or leave it on. What a client says of it does not count; daphne takes it
    from a header of the request.
    """

    def __init__(self, application: Application, root: str) -> None:
        self._application = application
        self._root = root
        self._is_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or WebSocket with its path below the root path."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        of_server = "" if _header(scope, b"daphne-root-path") is not None else scope.get("root_path", "").rstrip("/")
        if of_server not in ("", self._root):
            await self._refuse(scope, receive, send, of_server)
            return
        # An ASGI server puts its root path before every path.
        path = _below(_below(scope["path"], of_server), self._root)
        await self._application({**scope, "root_path": self._root, "path": self._root + path}, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, of_server: str) -> None:
        told = f"the server runs with the root path {quote(of_server)}; set FORCE_SCRIPT_NAME={of_server}, too"
        if not self._is_told:
            self._is_told = True
            logger.error("every request is answered 503: %s", told)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        error = RefusedRequestError(HTTPStatus.SERVICE_UNAVAILABLE, Refusal.MALFORMED, told)
        await answer_with(error)(scope, receive, send)


def _below(path: str, root: str) -> str:
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :] or "/"
    return path
