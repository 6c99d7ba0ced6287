"""A client that reads slowly or not at all: a plain socket with small buffers."""

import asyncio
import json
import socket
import time
from collections.abc import Iterable
from typing import Any, Self

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from tests.support.control import Ledger
from tests.support.stack import Stack

RECEIVE_BUFFER_BYTES = 32 * 1024
# Small steps, so that reading is slow all the time and not in bursts.
STEP_SECONDS = 0.05


class SlowClient(Ledger):
    """Speaks WebSocket, without compression, over a socket that only `read` reads."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._stack = stack
        self._protocol = ClientProtocol(parse_uri(stack.socket_url), max_size=None)
        self.bytes_read = 0
        self.ended = False

    async def __aenter__(self) -> Self:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", self._stack.port))
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        while not self.client_id:
            await self._receive(65_536)
        return self

    async def __aexit__(self, *_: object) -> None:
        # Unread data makes this a reset, as when a program dies.
        self._socket.close()

    async def send(self, messages: Iterable[dict[str, Any]]) -> None:
        """Send messages of the protocol."""
        for message in messages:
            self._protocol.send_text(json.dumps(message).encode())
        await self._flush()

    async def ping(self, times: int = 1) -> None:
        """Send WebSocket pings of the largest size."""
        for _ in range(times):
            self._protocol.send_ping(b"x" * 125)
        await self._flush()

    async def read(self, seconds: float, *, bytes_per_second: float) -> None:
        """Read at this rate until the server ends the connection or the time is over."""
        began, allowed = time.monotonic(), 0
        while not self.ended and (passed := time.monotonic() - began) < seconds:
            due = int(passed * bytes_per_second) - allowed
            if due > 0:
                allowed += due
                try:
                    async with asyncio.timeout(STEP_SECONDS):
                        await self._receive(due)
                except TimeoutError:
                    continue
            await asyncio.sleep(STEP_SECONDS)

    async def read_to_the_end(self) -> None:
        """Read without delay until the server ends the connection."""
        async with asyncio.timeout(10):
            while not self.ended:
                await self._receive(65_536)

    @property
    def close_code(self) -> int | None:
        """Return the close code of the server; None while it has not closed."""
        return None if self._protocol.close_rcvd is None else self._protocol.close_rcvd.code

    async def _receive(self, count: int) -> None:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, count)
        except ConnectionError:
            data = b""
        self.bytes_read += len(data)
        if not data:
            self.ended = True
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.take(json.loads(event.data))
        await self._flush()

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                try:
                    await asyncio.get_running_loop().sock_sendall(self._socket, data)
                except ConnectionError:
                    self.ended = True
