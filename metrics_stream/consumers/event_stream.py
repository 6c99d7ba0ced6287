"""`GET /api/v1/stream/`: live metrics as server-sent events, for programs that speak HTTP alone: `curl -N` works.

A stream is a client of the hub as a WebSocket is, made of the same parts. Django answers the request: hosts, HTTPS and
headers are those of every address. The view admits the client and leaves it in the scope; `with_event_streams` then
serves it outside Django, so that a stream holds no thread and no database connection for hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from msgspec import UNSET

from metrics_stream.access.monitor import access_monitor_of
from metrics_stream.access.refusals import refuse
from metrics_stream.consumers.authentication import Authentication
from metrics_stream.consumers.definitions import Definitions
from metrics_stream.consumers.event_query import StreamQuery, read_stream_query
from metrics_stream.consumers.limits import Limits
from metrics_stream.consumers.query import Opening
from metrics_stream.consumers.session import Session
from metrics_stream.consumers.sink import EXPLAIN_SECONDS, SocketSink
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import ClientRefusedError, ProtocolError, RequestRefusedError, TooManyGuessesError
from metrics_stream.core.formats.operations import EVENTS, describes
from metrics_stream.core.formats.queries import read_query
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.protocol import events, messages
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, RequestErrorCode
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.hub.clients import Client
from metrics_stream.hub.hub import Hub
from metrics_stream.hub.inspection import subscription_of
from metrics_stream.runtime.runtime import Runtime, get_runtime
from metrics_stream.server.connection import CONNECTION

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# The key of a scope under which the view leaves the stream that it has admitted.
ADMITTED = "metrics_stream.event_stream"

# Proxies end connections that are silent for a minute.
HEARTBEAT_SECONDS = 15.0

# By these fetch sites a browser says that no other site has asked; programs send none.
_OWN_SITES = (None, "same-origin", "none")

_STATUSES = {
    ErrorCode.NOT_AUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 401,
    ErrorCode.EXPIRED: 401,
    ErrorCode.TOO_MANY_GUESSES: 429,
    ErrorCode.TOO_MANY_CONNECTIONS: 429,
    ErrorCode.OVER_CAPACITY: 503,
    ErrorCode.INTERNAL: 503,
    ErrorCode.GOING_AWAY: 503,
}

_CODES = {401: RequestErrorCode.NOT_AUTHENTICATED, 429: RequestErrorCode.TOO_MANY_REQUESTS}

# After this many seconds a client that was refused for want of room may ask again.
_RETRY_SECONDS = 5


class EventSink(SocketSink):
    """The response of one stream as the hub sees it: what is written together becomes one event."""

    def __init__(
        self, write: Callable[[bytes], Awaitable[None]], end: Callable[[], None], hub: Hub, backlog: Any
    ) -> None:
        """`write` sends a part of the response, `end` ends it, `backlog` tells what the client has not taken."""
        super().__init__(_no_messages, {} if backlog is None else {"backlog": backlog}, hub)
        self._write_part = write
        self._end = end

    async def _write(self, frames: Sequence[PreparedMessage]) -> None:
        assert self.client is not None, "the hub writes only to registered clients"
        await self._write_part(events.events_of(frames))
        self._hub.written(self.client)

    async def _close(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        # A client that does not read does not take the reason either; the end must not wait for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXPLAIN_SECONDS):
                await self._write_part(events.closed_event(code, error, reason))
        self._end()


async def _no_messages(message: Any) -> None:
    raise AssertionError(f"a stream sends no messages of a WebSocket: {message['type']}")


class EventStream:
    """One client that gets server-sent events. `admit` may refuse it; `serve` runs until one side ends it."""

    def __init__(self, runtime: Runtime, *, address: str) -> None:
        self._runtime = runtime
        self._address = address
        monitor = access_monitor_of(runtime)
        self._limits = Limits(runtime, monitor)
        self._authentication = Authentication(
            monitor,
            self._limits,
            apply_change=self._apply_access,
            follow=self._follow,
            close=self._close_with,
            door="events",
        )
        self._known = runtime.settings.catalogue()
        self._preset = self._opening = Opening()
        self._ended = asyncio.Event()
        self._send: Send = _no_messages
        self._client: Client | None = None
        self._session: Session | None = None
        self._definitions: Definitions | None = None

    async def admit(self, headers: Mapping[str, str], query: StreamQuery) -> None:
        """Give the client its places and read what it asks for; raise ClientRefusedError or ProtocolError.

        Names of headers are in lower case.
        """
        # No other site can read the answer; but it could make a browser hold many streams.
        is_own = headers.get("sec-fetch-site") in _OWN_SITES
        try:
            self._limits.find_place(self._address)
            await self._authentication.read_handshake(headers, self._address, may_have_session=is_own)
            access = self._authentication.access
            self._preset, self._opening = await read_stream_query(
                query,
                access,
                last_event_id=headers.get("last-event-id"),
                max_terms=self._runtime.settings.max_filter_terms,
                version=self._runtime.definitions.version,
            )
        except BaseException:
            self.forget()
            raise

    async def serve(
        self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, send: Send, connection: Any
    ) -> None:
        """Send the response until the client leaves or is closed; `connection` is what the server offers for it."""
        self._send = send
        if "on_stop" in connection:
            connection["on_stop"](self._stop)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._write(b"retry: %d\n\n" % events.RETRY_MILLISECONDS)
            await self._begin(connection.get("backlog"))
            heart, leaving = asyncio.create_task(self._beat()), asyncio.create_task(_wait_for_disconnect(receive))
            ending = asyncio.create_task(self._ended.wait())
            try:
                await asyncio.wait([heart, leaving, ending], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (heart, leaving, ending):
                    task.cancel()
            if not leaving.done() or leaving.cancelled():
                # The server cuts a client that takes nothing.
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the client left while something was sent
            return
        finally:
            self.forget()

    async def _begin(self, backlog: Any) -> None:
        """Enter the hub, and subscribe to what the address asks for."""
        runtime, hub, opening = self._runtime, self._runtime.hub, self._opening
        access = self._authentication.access
        client_id = uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(client_id=client_id)
        await self._tell(
            messages.Welcome(
                client_id=client_id,
                timestamp=format_timestamp(time.time()),
                message="Connected to metrics_stream. The id of an event is the position after it.",
                metric_types=access.metric_types,
                subscription=subscription_of(opening.selection, opening.delivery, opening.preset),
                limits=self._limits.describe(),
            )
        )
        sink = EventSink(self._write, self._ended.set, hub, backlog)
        client = hub.add(client_id, sink, connected_at=time.time(), who=access.who, address=self._address)
        sink.client = client
        hub.turns.assign(client, self._limits.owner)
        client.count_message()  # the welcome
        session = Session(
            client,
            runtime,
            self._authentication,
            self._limits,
            self._tell,
            known=self._known,
            sends_newest=opening.sends_newest,
        )
        # Parameters that replace values of the preset stay in force when the preset changes.
        self._definitions = Definitions(
            client,
            runtime,
            self._authentication,
            session,
            send=self._tell,
            opening=self._preset,
            known=self._known,
        )
        self._client, self._session, self._sink = client, session, sink
        # Before the monitor knows the client: rights that it takes away would be given back here.
        hub.change(client, Selection((), opening.selection.filters, access.live_permit), opening.delivery)
        self._authentication.start_monitoring()
        if runtime.bus_watch.state == "stale":
            await self._tell(messages.Status(bus="stale"))
        wanted = frozenset(opening.selection.metric_types)
        await session.subscribe(wanted, opening.past, UNSET, everything=ALL in opening.wanted)

    async def _beat(self) -> None:
        """Keep the connection open, and tell the position, so that a quiet client resumes from where it is."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._write(events.heartbeat(None if self._session is None else self._session.position))

    async def _tell(self, message: messages.ServerMessage) -> None:
        """Send a message that does not queue behind data."""
        if self._ended.is_set():
            return
        self._runtime.telemetry.count_sent(messages=1)
        if self._client is not None:
            self._client.count_message()
        await self._write(events.event_of(message))

    async def _write(self, part: bytes) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    # --- changes and the end ---

    async def _apply_access(self) -> None:
        """Continue with the access that the client has now."""
        assert self._client is not None, "only clients of the hub are monitored"
        assert self._session is not None, "a client of the hub has a session"
        self._client.rename(self._authentication.access.who)
        await self._session.apply_access()

    async def _follow(self) -> None:
        """Tell the client of metric types and of its preset what has changed."""
        if self._definitions is not None:
            await self._definitions.follow()

    async def _close_with(self, refused: ClientRefusedError) -> None:
        """Send the reason and end the response."""
        if self._client is not None:
            self._runtime.hub.close(self._client.id, refused.code, refused.error, str(refused))

    def _stop(self) -> None:
        """End the response, since the server stops."""
        if self._client is not None:
            reason = "the server stops; come back in a moment"
            self._runtime.hub.close(self._client.id, CloseCode.GOING_AWAY, ErrorCode.GOING_AWAY, reason)
        else:
            self._ended.set()

    def forget(self) -> None:
        """Give back what the client has taken; harmless when it has nothing."""
        self._authentication.stop()
        self._limits.give_back_places()
        if self._client is not None and self._session is not None:
            self._sink.cancel()
            self._session.stop()
            self._runtime.hub.remove(self._client)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# --- the request ---


@describes(
    "GET",
    summary="Get live metrics as server-sent events.",
    tag="Live",
    scope="subscribe",
    query=StreamQuery,
    answers_with=(EVENTS,),
    errors=(RequestErrorCode.NO_STREAM,),
)
async def stream(request: HttpRequest) -> HttpResponse:
    """Admit a client, whom `with_event_streams` then serves; or refuse it with JSON, as the API does."""
    if request.method != "GET":
        message = f"this address does not accept {request.method}; allowed: GET"
        return refuse(RequestErrorCode.METHOD_NOT_ALLOWED, message, 405, {"Allow": "GET"})
    admitted = getattr(request, "scope", {}).get(ADMITTED)
    try:
        given = {name: request.GET.getlist(name) for name in request.GET}
        query = read_query(given, StreamQuery)
        found = EventStream(get_runtime(), address=str(request.META.get("REMOTE_ADDR") or ""))
        await found.admit({name.lower(): value for name, value in request.headers.items()}, query)
    except RequestRefusedError as error:
        return refuse(error.error, str(error), 400)
    except ProtocolError as error:
        return refuse(RequestErrorCode.INVALID_PARAMETER, error.message, 400)
    except ClientRefusedError as error:
        return _refuse(error)
    if admitted is None:
        found.forget()
        message = "this server process sends no events; allowed: an ASGI server with metrics_stream.routing"
        return refuse(RequestErrorCode.NO_STREAM, message, 501)
    admitted.append(found)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return HttpResponse(content_type=EVENTS, headers=headers)


def _refuse(error: ClientRefusedError) -> HttpResponse:
    status = _STATUSES.get(error.error, 503)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, TooManyGuessesError):
        headers["Retry-After"] = str(error.retry_seconds)
    elif status != 401:
        headers["Retry-After"] = str(_RETRY_SECONDS)
    return refuse(_CODES.get(status, RequestErrorCode.UNAVAILABLE), str(error), status, headers)


def with_event_streams(http: Application) -> Application:
    """Return `http`, which serves event streams after Django has admitted them."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith("/stream/"):
            await http(scope, receive, send)
            return
        admitted: list[EventStream] = []
        headers: list[tuple[bytes, bytes]] = []

        async def pass_on(message: Any) -> None:
            """Send what Django answers, unless the client was admitted."""
            if admitted and message.get("status") == 200:
                headers.extend(pair for pair in message["headers"] if pair[0].lower() != b"content-length")
            elif not headers:  # refused, also by middleware after the view
                await send(message)

        try:
            await http({**scope, ADMITTED: admitted}, receive, pass_on)
            if admitted and headers:
                connection = (scope.get("extensions") or {}).get(CONNECTION, {})
                await admitted[0].serve(headers, receive, send, connection)
        finally:
            for found in admitted:
                found.forget()

    return answer
