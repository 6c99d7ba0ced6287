"""A WebSocket client that costs nearly nothing: it sends messages and throws away what comes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

OPEN_SECONDS = 20.0


class Drain(asyncio.Protocol):
    """One connection; with `is_stalled` it stops reading after the handshake.

    Its frames are never compressed, and it answers the pings of the server, which it finds at the start of what comes.
    """

    def __init__(self, url: str, headers: Mapping[str, str], counts: Counter[str], *, is_stalled: bool) -> None:
        self._opening = ClientProtocol(parse_uri(url), extensions=[ClientPerMessageDeflateFactory()])
        self._framing = ClientProtocol(parse_uri(url), state=State.OPEN)
        self._headers = headers
        self._counts = counts
        self._is_stalled = is_stalled
        self.is_open = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(
        cls, url: str, headers: Mapping[str, str], counts: Counter[str], *, is_stalled: bool = False
    ) -> Self:
        """Return a client after its handshake; raise ConnectionError if it is refused."""
        uri = parse_uri(url)
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: cls(url, headers, counts, is_stalled=is_stalled), uri.host, uri.port
        )
        async with asyncio.timeout(OPEN_SECONDS):
            await client.is_open
        return client

    def connection_made(self, transport: Any) -> None:
        """Send the handshake."""
        self.transport = transport
        request = self._opening.connect()
        request.headers.update(self._headers)
        self._opening.send_request(request)
        self._write(self._opening)

    def data_received(self, data: bytes) -> None:
        """Read the answer to the handshake, then throw everything away."""
        if self.is_open.done():
            self._counts["bytes"] += len(data)
            if data[0] == 0x80 | Opcode.PING:
                self._framing.send_pong(data[2 : 2 + data[1]])
                self._write(self._framing)
            return
        self._opening.receive_data(data)
        if self._opening.state is State.OPEN:
            self._counts["connected"] += 1
            self.is_open.set_result(True)
            if self._is_stalled:
                self.transport.pause_reading()
        elif self._opening.handshake_exc is not None:
            self.is_open.set_exception(ConnectionError(str(self._opening.handshake_exc)))

    def connection_lost(self, error: Exception | None) -> None:
        """Count the end."""
        self._counts["ended"] += 1
        if not self.is_open.done():
            self.is_open.set_exception(ConnectionError(str(error)))

    def send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Send messages of the protocol."""
        for message in messages:
            self._framing.send_text(json.dumps(message).encode())
        self._write(self._framing)

    def close(self) -> None:
        """Send a close and end the connection."""
        self._framing.send_close(1000)
        self._write(self._framing)
        self.transport.close()

    def abort(self) -> None:
        """End the connection without a close."""
        self.transport.abort()

    def _write(self, protocol: ClientProtocol) -> None:
        for part in protocol.data_to_send():
            if part and not self.transport.is_closing():
                self.transport.write(part)
