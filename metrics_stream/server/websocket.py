"""The WebSocket protocol class for uvicorn: `uvicorn --ws metrics_stream.server.websocket:StreamSocketProtocol`.

It offers the ASGI extension `metrics_stream.shared_text`, with which a message for many WebSockets is framed and
compressed once. And it ends connections that uvicorn's own class can keep for ever: there a close waits behind data
that the client does not read, and a closed transport waits until its buffer is empty. Here a close is written at once,
and a connection that does not end in time is cut.
"""

from __future__ import annotations

import logging
import random
import socket
from asyncio import BaseTransport, TimerHandle
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected, get_client_addr
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.protocol import State

from metrics_stream.conf import get_settings
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import NO_PONG, CloseCode, ErrorCode
from metrics_stream.core.protocol.messages import Error
from metrics_stream.core.protocol.parsing import encode
from metrics_stream.core.protocol.prepared_message import EXTENSION, CompressionContext, PreparedMessage
from metrics_stream.server.framing import SharedDeflate, StreamServerProtocol
from metrics_stream.server.kernel import acknowledged_bytes, unacknowledged_bytes
from metrics_stream.server.places import places_of
from metrics_stream.server.refusals import Refusal, count_refusal
from metrics_stream.telemetry import of_process

logger = logging.getLogger(__name__)

# With fewer clients than this times DRAIN_SECONDS, a stop takes less than DRAIN_SECONDS.
DRAINED_PER_SECOND = 200
# How long a client has to answer a close before its connection is cut; less while a stopping server waits for it.
CLOSE_SECONDS = 5.0
GOODBYE_SECONDS = 2.0
# Data for a slow client waits in the hub, where newer metrics replace it. In the kernel, megabytes of it would wait and
# grow old.
UNSENT_BYTES = 65_536
# Libraries send one ping in 20 s; a flood of pings would keep the hub from its work.
PINGS_PER_SECOND = 100
# The range from which `Retry-After` is chosen for a client over the limit on connections.
RETRY_AFTER_SECONDS = (2, 10)
# Fragments of one message, and the time from the first to the last: without limits, a client could have the server keep
# the beginnings of messages for ever.
MAX_FRAGMENTS = 4_096
MESSAGE_SECONDS = 30.0

# The code of RFC 6455 for text that is not UTF-8.
NOT_UTF8 = 1007

GOING_AWAY_REASON = "the server stops; come back in a moment"
GOING_AWAY = PreparedMessage(encode(Error(code=ErrorCode.GOING_AWAY, message=GOING_AWAY_REASON)).encode())


class StreamSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio` with shared messages, which also ends clients that do not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = CLOSE_SECONDS
        self._window_bits: int | None = None
        # The point in a sequence of shared messages that the client has reached, and how many bytes of the sequence it
        # has received without other messages in between.
        self._keeps_context = False
        self._context: CompressionContext | None = None
        self._context_bytes = 0
        # Bytes since the connection began: acknowledged by the peer at the last check, and written before a ping.
        self._acknowledged = 0
        self._written_before_ping = 0
        self._cut_timer: TimerHandle | None = None
        self._client_id = ""
        # True if the server began to stop before the handshake was answered.
        self._is_stopping = False
        self._pings = 0
        self._pings_since = 0.0
        self._message_timer: TimerHandle | None = None
        server_state = kwargs["server_state"]
        self._places = places_of(server_state, self.config.limit_concurrency)
        self.conn = StreamServerProtocol(
            deflate=self.config.ws_per_message_deflate, max_size=self.config.ws_max_size, logger=self.conn.logger
        )

    def connection_made(self, transport: BaseTransport) -> None:
        """Start the connection; limit how much unsent data the kernel keeps."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        """Read data; what is not a handshake is answered, too."""
        self.conn.receive_data(data)
        # Before an error: messages that came before it count.
        self.handle_events()
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.handshake_initiated = True
            response = self.conn.reject(HTTPStatus.BAD_REQUEST, f"this is no handshake: {self.conn.handshake_exc}\n")
            # The library has an answer for some of the faults, and has written it already.
            self._answer(b"".join(self.conn.data_to_send()) or response.serialize())
            self._count_refusal(response)

    def handle_connect(self, event: Any) -> None:
        """Answer the handshake and offer the extension; over the limit on connections answer 503."""
        self.request = event
        self.handshake_initiated = True
        taken = self._places.take_socket(self)
        if taken is not None:
            self._refuse(taken)
            return
        versions = event.headers.get_all("Sec-WebSocket-Version")
        if versions and versions != ["13"]:
            # RFC 6455, 4.4: the answer names the version that would be accepted.
            response = self.conn.reject(HTTPStatus.UPGRADE_REQUIRED, "allowed: Sec-WebSocket-Version: 13\n")
            response.headers["Sec-WebSocket-Version"] = "13"
            response.headers["Upgrade"] = "websocket"
            self._reject(response)
            self._count_refusal(response)
            return
        super().handle_connect(event)
        if self.response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._count_refusal(self.response)
        if self.response.status_code == 101:
            for extension in self.conn.extensions:
                if isinstance(extension, SharedDeflate):
                    self._window_bits = extension.local_max_window_bits
                    self._keeps_context = extension.peer_keeps_context
            # The application starts in its own task, so it has not seen the scope yet.
            self.scope["extensions"][EXTENSION] = {
                "write": self.write_shared,
                "drained": self.writable.wait,
                "backlog": self.backlog,
                "name": self.set_client_id,
            }

    def write_shared(self, messages: Sequence[PreparedMessage]) -> bool:
        """Write all of these shared messages at once and return True; False if the socket accepts none now."""
        if (
            self.close_sent
            or not self.handshake_complete
            or not self.writable.is_set()
            # Also true when the peer has closed: uvicorn answers at once and closes the transport.
            or self.transport.is_closing()
        ):
            return False
        if len(messages) == 1:
            self.transport.write(self._wire_of(messages[0]))
        else:
            self.transport.write(b"".join(map(self._wire_of, messages)))
        return True

    def _wire_of(self, message: PreparedMessage) -> bytes:
        if not self._keeps_context or not message.is_compressed:
            return message.wire(self._window_bits)
        before, in_context = message.before, False
        if before is None or before is not self._context:
            self._context_bytes = 0
        else:
            # A client that joined the sequence midway lacks earlier messages that the compressed form may refer to.
            in_context = self._context_bytes >= len(before.tail)
        self._context = message.after
        self._context_bytes += len(message.data)
        return message.wire(self._window_bits, in_context=in_context)

    def set_client_id(self, client_id: str) -> None:
        """Set the id of this client in the log."""
        self._client_id = client_id

    def backlog(self) -> int:
        """Return how many written bytes the peer's machine has not acknowledged yet."""
        return self.transport.get_write_buffer_size() + unacknowledged_bytes(self.transport)

    async def send(self, message: Any) -> None:
        """Send a message of the application; a close does not wait for room in the write buffer."""
        if self.close_sent and message["type"] == "websocket.send":
            # The server has closed it, as a client that answers no ping; its application may not know yet.
            raise ClientDisconnected
        is_close = message["type"] == "websocket.close" and self.handshake_complete and not self.close_sent
        if is_close:
            # The close overtakes a frame that waits for room; that frame is refused afterwards.
            self.writable.set()
        await super().send(message)
        if message["type"] == "websocket.send":
            self._context = None
        elif message["type"] == "websocket.accept" and self._is_stopping:
            self.shutdown()
        if is_close and self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _refuse(self, limit: int) -> None:
        of_process.refused_clients += 1
        text = f"{limit} connections are open already"
        count_refusal(Refusal.NO_PLACE, "%s, and a WebSocket of %s is refused", text, self._peer())
        response = self.conn.reject(HTTPStatus.SERVICE_UNAVAILABLE, f"{text}; come back\n")
        response.headers["Retry-After"] = str(random.randint(*RETRY_AFTER_SECONDS))  # noqa: S311  spreads load, hides nothing
        self._reject(response)

    def _reject(self, response: Response) -> None:
        self.conn.send_response(response)
        self._answer(b"".join(self.conn.data_to_send()))

    def _answer(self, data: bytes) -> None:
        self.handshake_complete = self.close_sent = True
        self.transport.write(data)
        self.transport.close()
        self._cut_later()

    def _count_refusal(self, response: Response) -> None:
        told = bytes(response.body).decode(errors="replace").strip()
        count_refusal(
            Refusal.MALFORMED, "a handshake from %s is answered %d: %s", self._peer(), response.status_code, quote(told)
        )

    def _peer(self) -> str:
        return str(self.client[0]) if self.client else "this machine"

    def shutdown(self) -> None:
        """Close because the server stops: at a random moment, so that not all clients return at once."""
        if self.close_sent:
            super().shutdown()
            return
        if not self.handshake_complete:
            # The client is told after the handshake; if it were refused now, it would look like a fault.
            self._is_stopping = True
            self.loop.call_later(self.close_timeout, self._end_handshake)
            return
        spread = min(get_settings().drain_seconds, len(self.connections) / DRAINED_PER_SECOND)
        self.loop.call_later(spread * random.random(), self._go_away)  # noqa: S311  spreads load, hides nothing

    def _end_handshake(self) -> None:
        if not self.handshake_complete:
            super().shutdown()

    def _go_away(self) -> None:
        if self.close_sent or self.conn.state is not State.OPEN or self.transport.is_closing():
            return
        self.stop_keepalive()
        # Some servers and proxies drop close reasons, so an error frame carries the reason, too.
        self.transport.write(GOING_AWAY.wire(self._window_bits))
        self.conn.send_close(CloseCode.GOING_AWAY, GOING_AWAY_REASON)
        self._end(CloseCode.GOING_AWAY)
        of_process.closes_by_code[CloseCode.GOING_AWAY] += 1
        self.transport.resume_reading()

    def handle_cont(self, event: Frame) -> None:
        """Take another fragment of a message."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_FRAGMENTS} fragments in a message")
            return
        super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        """Take a text message or its first fragment."""
        super().handle_text(event)
        self._expect_message(event)

    def handle_bytes(self, event: Frame) -> None:
        """Take a binary message or its first fragment."""
        super().handle_bytes(event)
        self._expect_message(event)

    def _expect_message(self, first: Frame) -> None:
        if not first.fin:
            reason = f"a message took more than {MESSAGE_SECONDS:g} s to arrive"
            self._message_timer = self.loop.call_later(MESSAGE_SECONDS, self._fail, CloseCode.BAD_PROTOCOL, reason)

    def _forget_message(self) -> None:
        if self._message_timer is not None:
            self._message_timer.cancel()
            self._message_timer = None

    def send_receive_event_to_app(self) -> None:
        """Hand a complete message to the application; text that is not UTF-8 ends the connection."""
        self._forget_message()
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError as error:
                self._fail(NOT_UTF8, f"invalid UTF-8 at byte {error.start}")
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer a ping unless data waits: a client may send many pings and read no answers."""
        now = self.loop.time()
        if now - self._pings_since >= 1:
            self._pings_since, self._pings = now, 0
        self._pings += 1
        if self._pings > PINGS_PER_SECOND:
            self._fail(CloseCode.TOO_MANY_MESSAGES, f"more than {PINGS_PER_SECOND} pings within a second")
        elif self.writable.is_set():
            super().handle_ping()
        elif self.conn.parser_exc is None:
            # Discard the answer: RFC 6455, 5.5.3, requires one only to the most recent ping.
            self.conn.data_to_send()

    def _fail(self, code: int, reason: str) -> None:
        """Close at once and ignore what the client still sends."""
        if self.close_sent:
            return
        self.stop_keepalive()
        self.conn.fail(code, reason)
        self._end(code)
        self._end_writing()
        self._count_close(code, reason)

    def _count_close(self, code: int, reason: str) -> None:
        """Count and log a close that neither the hub nor the application has caused."""
        of_process.closes_by_code[code] += 1
        logger.info(
            "a client at %s is closed with %d: %s",
            *(get_client_addr(self.scope), code, reason),
            extra={"client_id": self._client_id},
        )

    def handle_parser_exception(self) -> None:
        """Close because the peer violated the WebSocket protocol."""
        close = self.conn.close_sent
        if close is not None and self.handshake_complete and not self.close_sent:
            self._count_close(close.code, close.reason)
        if close is None or not self.handshake_complete or self.close_sent:
            super().handle_parser_exception()
            self._cut_later()
            return
        self.stop_keepalive()
        self._end(close.code)
        self._end_writing()

    def handle_close(self, event: Any) -> None:
        """Answer a close; cut the connection later, even if data still waits for the peer."""
        super().handle_close(event)
        self._cut_later()

    def _cut_later(self) -> None:
        if self._cut_timer is None:
            self._cut_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection and its timer."""
        if self._cut_timer is not None:
            self._cut_timer.cancel()
        self._forget_message()
        self._places.leave_socket(self)
        super().connection_lost(exc)

    def _end(self, code: int) -> None:
        """Write the close frame, tell the application, and give the client a moment to read it."""
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code)})
        # If it were closed with unread input, the connection would be reset before the client has the reason.
        self.close_timer = self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def _end_writing(self) -> None:
        """Tell the client that nothing follows a close that it need not answer (RFC 6455, 7.1.7)."""
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.transport.resume_reading()

    def send_keepalive_ping(self) -> None:
        """Send a ping, and remember how much the peer must receive before the ping."""
        self._acknowledged = acknowledged_bytes(self.transport)
        self._written_before_ping = self._acknowledged + self.backlog()
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """Close a connection whose peer does not answer a ping, and cut it if the close does not end it.

        A peer that slowly receives what was written before the ping does not have the ping yet, and gets more time.
        """
        acknowledged = min(acknowledged_bytes(self.transport), self._written_before_ping)
        if acknowledged > self._acknowledged:
            self._acknowledged = acknowledged
            assert self.config.ws_ping_timeout is not None, "without ws_ping_timeout this timer is never set"
            self.pong_timer = self.loop.call_later(self.config.ws_ping_timeout, self.keepalive_timeout)
            return
        if not self.close_sent and not self.transport.is_closing():
            self._count_close(NO_PONG, "it answered no ping")
        super().keepalive_timeout()
        self._cut_later()
