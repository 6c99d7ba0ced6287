"""The ASGI application: Django for HTTP, the consumer for WebSocket, start and stop of runtime and recorder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.urls import path

from metrics_stream.bus import declare_server, layer_is_shared
from metrics_stream.consumers import MetricsConsumer
from metrics_stream.deadline import BusError
from metrics_stream.recorder import start_recorder, stop_recorder
from metrics_stream.runtime import get_runtime, process_name, stop_runtime

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
    """Start runtime and recorder with the server and stop them with it; servers that lack this start them on use."""
    del scope
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                get_runtime()
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
    """Return `http` with the recorder started by the first request: daphne has no lifespan, and pages come first."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        start_recorder(process_name())
        await http(scope, receive, send)

    return answer


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
        {
            "http": recording(http),
            "websocket": BrowserOriginValidator(URLRouter(sockets), allowed),
            "lifespan": lifespan,
        }
    )
