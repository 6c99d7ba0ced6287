"""The ASGI application: Django serves HTTP, the consumer WebSockets; runtime and recorder start and stop with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import NoReverseMatch, get_script_prefix, path, re_path, reverse

from metrics_stream.access.grants import is_open
from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.api.requests import with_bounded_bodies
from metrics_stream.audit.trail import start_trail, stop_trail
from metrics_stream.bus.bus import declare_server, layer_is_shared
from metrics_stream.checks import check_static_files
from metrics_stream.conf import get_settings
from metrics_stream.consumers.event_stream import with_event_streams
from metrics_stream.consumers.metrics import MetricsConsumer
from metrics_stream.core.errors import BusError
from metrics_stream.models.installation import installation_id
from metrics_stream.program import program_name
from metrics_stream.runs.recorder import start_recorder, stop_recorder
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from metrics_stream.server.gates import (
    Application,
    KnownHosts,
    Receive,
    RootPath,
    SameOrigin,
    Scope,
    Send,
    refuse_socket,
    with_upgrade_hint,
)
from metrics_stream.server.interpreter import ServingInterpreter, collect_garbage
from metrics_stream.server.threads import with_reused_threads
from metrics_stream.views.page_config import SOCKET_PATH, mounted_at
from metrics_stream.views.status import watch_parts

logger = logging.getLogger(__name__)

# A server starts although its database does not answer.
START_SECONDS = 3.0

# Those that Django allows under DEBUG.
LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start runtime and recorder with the server, and stop them with it; on other servers they start at first use."""
    del scope
    interpreter = ServingInterpreter()
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                runtime = get_runtime()
                # Before the first request: no page may lack a type that exists.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(START_SECONDS):
                        await runtime.definitions.read()
                access_monitor_of(runtime)
                runtime.watch("parts", watch_parts)
                runtime.watch("clocks", runtime.clocks.watch)
                runtime.watch("neighbours", partial(runtime.neighbours.watch, installation_id))
            except BusError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            start_recorder(program_name())
            start_trail()
            interpreter.start()
            runtime.watch("garbage", collect_garbage)
            await send({"type": "lifespan.startup.complete"})
        else:
            interpreter.stop()
            await stop_runtime()
            await asyncio.to_thread(stop_recorder)
            await asyncio.to_thread(stop_trail)
            await send({"type": "lifespan.shutdown.complete"})
            return


def recording(http: Any) -> Application:
    """Return `http`, which starts recorder and audit log at its first request: daphne has no lifespan."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        start_recorder(program_name())
        start_trail()
        await http(scope, receive, send)

    return answer


def open_paths() -> set[str]:
    """Return the paths below the root path that are answered for every Host."""
    names = ["healthz", "readyz", *(["metrics"] if get_settings().metrics_for_any_host else [])]
    try:
        return {reverse(f"metrics_stream:{name}")[len(get_script_prefix()) - 1 :] for name in names}
    except NoReverseMatch:  # a project that has only the WebSocket
        return set()


def websocket_routes() -> list[Any]:
    """Return the routes of this app for a URLRouter: the WebSocket, for pages of this site and for programs.

    It is below the path at which the project includes `metrics_stream.urls`.
    """
    allowed = _allowed_hosts()
    # Typed as Any: Django's path() is made for views, and Channels' routers take ASGI applications through it.
    consumer: Any = SameOrigin(MetricsConsumer.as_asgi(), hosts=allowed, origins=list(get_settings().allowed_origins))
    return [path(f"{mounted_at()}{SOCKET_PATH}".lstrip("/"), consumer)]


def _allowed_hosts() -> list[str]:
    return settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])


def stream_application(http: Any, *, websockets: Sequence[Any] = ()) -> Application:
    """Return the ASGI application that serves `http`, the WebSocket, and the project's own routes of `websockets`.

    A project checks the origin of its own WebSockets itself.
    """
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
    for problem in check_static_files():
        logger.error("%s Run: %s", problem.msg, problem.hint)
    missing: Any = refuse_socket
    mounted = mounted_at()
    pages = with_upgrade_hint(
        with_bounded_bodies(with_event_streams(with_reused_threads(http)), mounted), f"{mounted}{SOCKET_PATH}"
    )
    router: Any = ProtocolTypeRouter(
        {
            "http": recording(KnownHosts(pages, hosts=_allowed_hosts(), open_paths=open_paths)),
            "websocket": URLRouter([*websocket_routes(), *websockets, re_path("", missing)]),
            "lifespan": lifespan,
        }
    )
    return RootPath(router, (settings.FORCE_SCRIPT_NAME or "").rstrip("/"))
