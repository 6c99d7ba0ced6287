"""The WebSocket protocol class for uvicorn: `uvicorn --ws metrics_stream.socket_protocol:StreamSocketProtocol`.

uvicorn's own class lets a client that never reads stay for good: its close waits behind the data that the client does
not take, and a transport that is closed waits until its buffer is empty. Here a close is written at once, and a
connection that does not end in time is cut.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class StreamSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio`, with an end for clients that do not read."""

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
