"""The HTTP protocol class for uvicorn: `uvicorn --http metrics_stream.server.http:PatientHttpProtocol`.

It differs from uvicorn's own class in these points. A request head is bounded in bytes, lines and time from the first
byte on, and what exceeds the bounds is answered. A client must take its response. When all places of the process are
taken, a connection that waits for its client is ended for one with a request; health checks and `/metrics` are always
answered. A server that stops waits a moment for the first request of a connection; uvicorn would close it at once, and
a client whose request is on its way would see a reset, also when workers are replaced one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from metrics_stream.server.answers import answer_with, write_answer
from metrics_stream.server.connection import CONNECTION
from metrics_stream.server.kernel import acknowledged_bytes, unacknowledged_bytes
from metrics_stream.server.places import places_of
from metrics_stream.server.refusals import Refusal, count_refusal
from metrics_stream.server.request_head import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    RefusedRequestError,
    check_handshake,
    check_hosts,
    malformed,
    normalize_proxy_headers,
    to_origin_form,
    too_large_head,
    too_long_target,
)
from metrics_stream.telemetry import of_process

# Much longer than a client needs to send its first request, much shorter than a stop may take.
FIRST_REQUEST_SECONDS = 0.5

# From the start of a connection, or of a request on it, to the end of the request head. Without a limit, a client that
# sends nothing, or a byte now and then, would occupy one of the connections of the process for ever.
HEAD_SECONDS = 10.0

# A client that takes fewer bytes of a response in this time is gone, or holds a place for nothing.
TAKE_SECONDS = 30.0
TAKE_BYTES = 4_096

# How long what a refused client still sends is read: if the connection was closed before, it would be reset, and the
# client could lose the answer.
LINGER_SECONDS = 2.0

# The parser gets so many bytes at once, so that no more than these pass before the bounds are checked.
SLICE_BYTES = 4_096

# Requests of one connection that wait for the response to the first.
MAX_PIPELINED = 16

# The last part of the path of health checks and of /metrics. If they were refused, a supervisor would restart a process
# that is only busy.
WATCHED_PAGES = frozenset({"healthz", "readyz", "metrics"})

# uvicorn warns of each refused request; `count_refusal` does it without a flood. Its errors are kept.
_uvicorn_errors = logging.getLogger("uvicorn.error.requests")


class PatientHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with bounds for clients, patience at a stop, and places for those who ask."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _uvicorn_errors
        self._places = places_of(self.server_state, self.config.limit_concurrency)
        self.limit_concurrency = None
        self._stop_timer: TimerHandle | None = None
        self._head_timer: TimerHandle | None = None
        self._take_timer: TimerHandle | None = None
        self._linger_timer: TimerHandle | None = None
        self._taken = 0
        # Of a head, or of what is between the parts of a body, and whether a body is being read.
        self._unread_bytes = 0
        self._is_in_body = False
        self._is_over = False
        # Ends a response that would go on for as long as its client stays.
        self._end_response: Callable[[], object] | None = None

    # --- reading ---

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the connection, and the time limit for its first request head."""
        super().connection_made(transport)
        self._expect_head()
        self._places.take_in(self)

    def data_received(self, data: bytes) -> None:
        """Read data; parts of a request head do not extend its time limit."""
        if self._is_over or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except RefusedRequestError as error:
            self._refuse(error)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, RefusedRequestError) else malformed(f"not HTTP: {cause}"))
        except httptools.HttpParserError as error:
            self._refuse(malformed(f"not HTTP: {error}"))
        else:
            # uvicorn's own timer for idle connections ends with the first byte of the next request.
            if self.cycle is None or self.cycle.response_complete:
                self._expect_head()

    def _parse(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            part = data[start : start + SLICE_BYTES]
            self._unread_bytes += len(part)
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade as upgrade:
                self._upgrade(has_more=start + upgrade.args[0] < len(data))
                return
            if self._unread_bytes > MAX_HEAD_BYTES:
                raise too_large_head(f"more than {MAX_HEAD_BYTES:,} bytes")
            if len(self.pipeline) > MAX_PIPELINED:
                raise malformed(f"more than {MAX_PIPELINED} requests wait for a response; wait for one")

    def _upgrade(self, *, has_more: bool) -> None:
        if not self._should_upgrade():
            # To another protocol, which RFC 9110, 7.8, allows to ignore. The parser reads no more of this connection.
            self._is_over = True
            self.cycle.keep_alive = False
        elif has_more:
            raise malformed("data came before the handshake of the WebSocket was answered")
        else:
            self.handle_websocket_upgrade()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        super().on_url(url)
        if len(self.url) > MAX_LINE_BYTES:
            raise too_long_target()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those that follow a body are not part of the head, and ignored (RFC 9110, 6.5.1)."""
        if self._is_in_body:
            return
        super().on_header(name, value)
        if len(name) + len(value) > MAX_LINE_BYTES:
            shown = name[:40].decode("latin-1")
            raise too_large_head(f"a header {shown} of {len(name) + len(value):,} bytes")
        if len(self.headers) > MAX_HEADERS:
            raise too_large_head(f"more than {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        """Process a request or the handshake of a WebSocket."""
        version = self.parser.get_http_version()
        self.url = to_origin_form(self.url, self.headers)
        check_hosts(version, self.headers)
        normalize_proxy_headers(self.headers)
        is_handshake = self.parser.should_upgrade() and self._should_upgrade()
        if is_handshake:
            check_handshake(self.headers)
        super().on_headers_complete()
        self._forget_head()
        self._unread_bytes = 0
        if not is_handshake:
            self._is_in_body = True
            self._places.wait(self)
            self.cycle.transport = _GentleTransport(self)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unread_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request; the next byte begins the next head."""
        super().on_message_complete()
        self._is_in_body, self._unread_bytes = False, 0
        self._places.proceed(self)

    def _should_upgrade(self) -> bool:
        # HTTP/1.0 has no upgrades.
        return super()._should_upgrade() and self.parser.get_http_version() == "1.1"

    def _get_upgrade(self) -> bytes | None:
        tokens = b",".join(value for name, value in self.headers if name == b"connection").lower().split(b",")
        if b"upgrade" not in (token.strip() for token in tokens):
            return None
        return b",".join(value for name, value in self.headers if name == b"upgrade").strip().lower()

    # --- limits of time and place ---

    def _expect_head(self) -> None:
        upgraded = self.transport.get_protocol() is not self
        if self._head_timer is None and not upgraded and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end_head)
            self._places.wait(self)

    def _forget_head(self) -> None:
        self._places.proceed(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_head(self) -> None:
        """End a connection that has sent no complete head in time; browsers open some that they do not use."""
        self._head_timer = None
        if not self._unread_bytes:
            self.transport.close()
            return
        text = f"the head of the request was not complete within {HEAD_SECONDS:g} s"
        self._refuse(RefusedRequestError(HTTPStatus.REQUEST_TIMEOUT, Refusal.TOO_SLOW, text))

    def give_way(self) -> None:
        """End, since another connection needs the place."""
        if not self._is_over and not self._is_answering():
            text = "all connections of the server are taken, and this one had no complete request; try again"
            error = RefusedRequestError(HTTPStatus.REQUEST_TIMEOUT, Refusal.NO_PLACE, text)
            self._count(error)
            if self._unread_bytes or self._is_in_body:
                write_answer(self.transport, error)
        self.transport.abort()

    def _is_answering(self) -> bool:
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and (cycle.response_started or not self._is_in_body)

    def pause_writing(self) -> None:
        """Stop writing, and give the client a time to take what is written."""
        super().pause_writing()
        self._watch_response()

    def resume_writing(self) -> None:
        """Go on writing: the client has taken most of what was written."""
        super().resume_writing()
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None

    def on_response_complete(self) -> None:
        """Go on with the next request; what is written of this response must be taken in time, too."""
        self._end_response = None
        if self._linger_timer is not None:
            self.pipeline.clear()
        elif not self.pipeline:
            self._places.wait(self)
        super().on_response_complete()
        self._watch_response()

    def _watch_response(self) -> None:
        if self._take_timer is None and self.transport.get_write_buffer_size():
            self._taken = acknowledged_bytes(self.transport)
            self._take_timer = self.loop.call_later(TAKE_SECONDS, self._check_response)

    def _check_response(self) -> None:
        self._take_timer = None
        taken = acknowledged_bytes(self.transport)
        if self.transport.get_write_buffer_size() and taken < self._taken + TAKE_BYTES:
            count_refusal(
                Refusal.TOO_SLOW,
                "a client at %s took fewer than %d bytes of a response within %g s, and is cut",
                *(self._peer(), TAKE_BYTES, TAKE_SECONDS),
            )
            self.transport.abort()
            return
        self._watch_response()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection and its timers."""
        self._forget_head()
        for timer in (self._take_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    # --- answering ---

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request, with 503 when all places are taken."""
        is_watched = cycle.scope["path"].rpartition("/")[2] in WATCHED_PAGES
        if app is self.app and not self._places.take_request(self) and not is_watched:
            of_process.refused_clients += 1
            text = "all connections of the server are taken; try again"
            error = RefusedRequestError(HTTPStatus.SERVICE_UNAVAILABLE, Refusal.NO_PLACE, text)
            self._count(error)
            app = answer_with(error)
        cycle.scope.setdefault("extensions", {})[CONNECTION] = {"on_stop": self._keep_end, "backlog": self.backlog}
        super()._start_asgi_task(cycle, app)

    def _keep_end(self, call: Callable[[], object]) -> None:
        self._end_response = call

    def backlog(self) -> int:
        """Return how many written bytes the peer's machine has not acknowledged yet."""
        return self.transport.get_write_buffer_size() + unacknowledged_bytes(self.transport)

    def _refuse(self, error: RefusedRequestError) -> None:
        """Answer what is not a request that is served, after the responses that come before, and read no more."""
        self._count(error)
        self._forget_head()
        self._is_over = True
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not self.pipeline):
            write_answer(self.transport, error)
            self.close_gently()
        elif not self._is_in_body:
            # The responses to earlier requests come first.
            late = RequestResponseCycle(
                scope={**cycle.scope, "path": "", "method": "GET"},
                transport=_GentleTransport(self),  # type: ignore[arg-type]
                flow=self.flow,
                logger=self.logger,
                access_logger=self.access_logger,
                access_log=False,
                default_headers=self.server_state.default_headers,
                message_event=asyncio.Event(),
                expect_100_continue=False,
                keep_alive=False,
                on_response=self.on_response_complete,
            )
            self.pipeline.appendleft((late, answer_with(error)))
        else:
            self._end_body(cycle, error)

    def _end_body(self, cycle: RequestResponseCycle, error: RefusedRequestError) -> None:
        """Refuse a request whose body is at fault; the application that reads it sees a client that left."""
        waiting = next((place for place, (each, _) in enumerate(self.pipeline) if each is cycle), None)
        cycle.keep_alive = False
        if waiting is not None:
            self.pipeline[waiting] = (cycle, answer_with(error))
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if not cycle.response_started:
            write_answer(self.transport, error)
        self.close_gently()

    def close_gently(self) -> None:
        """Close; if the client still sends, let it read the answer first."""
        self._watch_response()
        if not (self._is_over or self._is_in_body) or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._is_over = True
        if self._linger_timer is None and not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
            self._linger_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
            self._places.wait(self)

    def _count(self, error: RefusedRequestError) -> None:
        count_refusal(error.reason, "a request from %s is answered %d: %s", self._peer(), error.status, error)

    def _peer(self) -> str:
        return str(self.client[0]) if self.client else "this machine"

    # --- WebSockets and the end ---

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol, which has its own way to stop."""
        super().handle_websocket_upgrade()
        if self._stop_timer is not None:
            self._stop_timer.cancel()
            self.transport.get_protocol().shutdown()  # type: ignore[attr-defined]

    def shutdown(self) -> None:
        """Close the connection after its current or first request."""
        if self._end_response is not None:
            self._end_response()
        if self.cycle is None and not self._is_over:
            self._stop_timer = self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()


class _GentleTransport:
    """What a response is written to: its close lets a client that still sends read the answer."""

    def __init__(self, protocol: PatientHttpProtocol) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.close_gently()
