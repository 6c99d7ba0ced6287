"""The ASGI application: Django serves HTTP, the consumer WebSockets; runtime and recorder start and stop with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.http.request import validate_host
from django.urls import path

from metrics_stream.access.grants import is_open
from metrics_stream.api.requests import with_bounded_bodies
from metrics_stream.bus.bus import declare_server, layer_is_shared
from metrics_stream.consumers.metrics import MetricsConsumer
from metrics_stream.core.errors import BusError
from metrics_stream.models.installation import installation_id
from metrics_stream.runs.recorder import start_recorder, stop_recorder
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from metrics_stream.runtime.statistics import process_name
from metrics_stream.views.status import watch_parts

logger = logging.getLogger(__name__)

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


class SameOrigin:
    """Accepts programs, which send no Origin, and browsers with a page of this server: same scheme, host and port.

    Channels' own validators compare hosts only, so they would accept a page on another port of the same machine.
    """

    def __init__(self, application: Application, *, hosts: list[str], origins: list[str]) -> None:
        """`hosts` are the names of this server, `origins` further origins whose pages may open WebSockets."""
        self._application = application
        self._hosts = hosts
        self._origins = {origin for item in origins if (origin := _origin(item)) is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the WebSocket, or refuse its handshake with 403."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if origin is None or self._is_ours(scope, headers, origin.decode("latin-1")):
            await self._application(scope, receive, send)
        else:
            await not_found(scope, receive, send)

    def _is_ours(self, scope: Scope, headers: dict[bytes, bytes], text: str) -> bool:
        origin = _origin(text)
        if origin is None:
            return False
        if origin in self._origins:
            return True
        scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
        here = _origin(f"{scheme}://{headers.get(b'host', b'').decode('latin-1')}")
        # The host must be one of ours: an attacker can point a name of their own at this machine.
        return here == origin and validate_host(origin[1], self._hosts)


def _origin(text: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin, None if the text is not an origin, such as `null`."""
    try:
        parts = urlsplit(text)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    if not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, host, port


def at_the_root(application: Application) -> Application:
    """Return `application` with the root path of a request ignored: daphne takes it from a header of the client."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope.get("root_path"):
            scope = {**scope, "root_path": ""}
        await application(scope, receive, send)

    return answer


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start runtime and recorder with the server, and stop them with it; on other servers they start at first use."""
    del scope
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                runtime = get_runtime()
                runtime.watch("parts", watch_parts)
                runtime.watch("clocks", runtime.clocks.watch)
                runtime.watch("neighbours", partial(runtime.neighbours.watch, installation_id))
            except BusError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            start_recorder(process_name())
            await send({"type": "lifespan.startup.complete"})
        else:
            await stop_runtime()
            await asyncio.to_thread(stop_recorder)
            await send({"type": "lifespan.shutdown.complete"})
            return


def recording(http: Any) -> Application:
    """Return `http`, whose first request starts the recorder: daphne has no lifespan, and pages come first."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        start_recorder(process_name())
        await http(scope, receive, send)

    return answer


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse the handshake of a WebSocket with 403: its address does not exist."""
    del scope, receive
    await send({"type": "websocket.close"})


def stream_application(http: Any) -> Application:
    """Return the ASGI application that serves `http` and the WebSocket."""
    declare_server()
    if not layer_is_shared():
        logger.warning(
            "The in-memory channel layer is in use: only what this server process publishes reaches its viewers. "
            "For commands, stress tests and further servers set REDIS_URL, or use `python3 dev.py run`."
        )
    if is_open():
        logger.warning(
            "Everybody who reaches this server can see every metric without signing in (ANONYMOUS_READ, on with "
            "DEBUG). Set ANONYMOUS_READ=0 to ask viewers for a login and programs for a token."
        )
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    # Typed as Any: Django's path() is made for views, and Channels' routers take ASGI applications through it.
    consumer: Any = MetricsConsumer.as_asgi()
    missing: Any = not_found
    sockets: Any = URLRouter([path("ws/metrics/", consumer), path("<path:rest>", missing)])
    origins = getattr(settings, "ALLOWED_ORIGINS", [])
    router: Any = ProtocolTypeRouter(
        {
            "http": recording(with_bounded_bodies(http)),
            "websocket": SameOrigin(sockets, hosts=allowed, origins=origins),
            "lifespan": lifespan,
        }
    )
    return at_the_root(router)
