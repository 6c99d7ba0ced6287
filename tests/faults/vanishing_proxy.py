"""A network that can drop a client: data disappears in both directions, and no connection ends."""

import asyncio
from contextlib import AsyncExitStack
from typing import Self

import websockets


class VanishingProxy:
    """Passes bytes between clients and a port until `vanish`, and discards them from then on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._vanished = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._open = AsyncExitStack()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._own_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server.close()
        await self._open.aclose()
        await self._server.wait_closed()

    async def connect(self) -> websockets.ClientConnection:
        """Connect a client through the proxy, and read its welcome."""
        # Without its own pings, the client notices nothing, like a machine that lost its network.
        url = f"ws://127.0.0.1:{self._own_port}/ws/metrics/"
        socket = await self._open.enter_async_context(
            websockets.connect(url, ping_interval=None, close_timeout=0.1, max_queue=None)
        )
        await socket.recv()
        return socket

    def vanish(self) -> None:
        """Drop everything from now on."""
        self._vanished = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        pipes = {
            asyncio.create_task(self._pipe(reader, to_server)),
            asyncio.create_task(self._pipe(from_server, writer)),
        }
        self._tasks |= pipes

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if not self._vanished:
                    writer.write(data)
            if self._vanished:
                # The end of the connection is not passed on either.
                await asyncio.Event().wait()
        finally:
            writer.transport.abort()
