"""The ASGI application: Django for HTTP, the consumer for WebSocket, start and stop of the runtime for the server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.urls import path

from metrics_stream.bus import BusError, declare_server, layer_is_shared
from metrics_stream.consumers import MetricsConsumer
from metrics_stream.runtime import get_runtime, stop_runtime

logger = logging.getLogger(__name__)

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


class BrowserOriginValidator(OriginValidator):
    """Lets programs in, which send no Origin, and browsers whose page came from one of our hosts."""

    def valid_origin(self, parsed_origin: Any) -> bool:
        """Return whether a socket from this origin is accepted."""
        return parsed_origin is None or super().valid_origin(parsed_origin)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start the runtime with the server and stop it with the server; servers that lack this start it on first use."""
    del scope
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                get_runtime()
            except BusError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        else:
            await stop_runtime()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket to an address that does not exist, with 403 on the handshake."""
    del scope, receive
    await send({"type": "websocket.close"})


def stream_application(http: Any) -> Application:
    """Return the ASGI application that serves `http` and the metrics."""
    declare_server()
    if not layer_is_shared():
        logger.warning(
            "The in-memory channel layer is in use: only what this server process publishes reaches its viewers. "
            "For commands, stress tests and further servers set REDIS_URL, or use `python3 dev.py run`."
        )
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    # Typed as Any: Django's path() is made for views, and Channels' routers take ASGI applications through it.
    consumer: Any = MetricsConsumer.as_asgi()
    missing: Any = not_found
    sockets: Any = [path("ws/metrics/", consumer), path("<path:rest>", missing)]
    return ProtocolTypeRouter(
        {"http": http, "websocket": BrowserOriginValidator(URLRouter(sockets), allowed), "lifespan": lifespan}
    )
