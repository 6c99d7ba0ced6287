"""The WebSocket protocol class for uvicorn: `uvicorn --ws metrics_stream.socket_protocol:StreamSocketProtocol`.

It offers the ASGI extension `metrics_stream.shared_text`, by which a message for many sockets is framed and compressed
once. And it ends what uvicorn's own class lets stay for good: there a close waits behind the data that a client does
not take, and a transport that is closed waits until its buffer is empty. Here a close is written at once, and a
connection that does not end in time is cut.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.protocol import State
from websockets.server import ServerProtocol

from metrics_stream.core.shared_text import EXTENSION, SharedText


class StreamSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio` with shared messages and an end for clients that do not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._window_bits: int | None = None
        if self.config.ws_per_message_deflate:
            # Without context, since shared messages come between those of the connection: with it, a back reference
            # would count from the wrong place.
            factory = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_max_window_bits=12)
            self.conn = ServerProtocol(extensions=[factory], max_size=self.config.ws_max_size, logger=self.conn.logger)

    def handle_connect(self, event: Any) -> None:
        """Answer the handshake and offer the extension."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            self._window_bits = next(
                (each.local_max_window_bits for each in self.conn.extensions if isinstance(each, PerMessageDeflate)),
                None,
            )
            # The application starts in a task of its own, so it does not have the scope yet.
            self.scope["extensions"][EXTENSION] = {"write": self.write_shared}

    def write_shared(self, message: SharedText) -> bool:
        """Write a shared message at once; False when the socket takes none now, and `send` is to be awaited."""
        if (
            not self.writable.is_set()
            or not self.handshake_complete
            or self.close_sent
            or self.conn.state is not State.OPEN
            or self.transport.is_closing()
        ):
            return False
        self.transport.write(message.wire(self._window_bits))
        return True

    async def send(self, message: Any) -> None:
        """Send; a close does not wait for room in the write buffer."""
        is_close = message["type"] == "websocket.close" and self.handshake_complete and not self.close_sent
        if is_close:
            # Lets the close pass in front of the frame that waits; that one is refused afterwards.
            self.writable.set()
        await super().send(message)
        if is_close and self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Close a connection whose peer answers no ping, and cut it when that does not end it."""
        super().keepalive_timeout()
        self.loop.call_later(self.close_timeout, self.transport.abort)
