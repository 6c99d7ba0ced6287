"""The WebSocket of one client as the hub sees it: frames are written at once, or in a task while it takes none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from metrics_stream.core.protocol import messages
from metrics_stream.core.protocol import parsing as protocol
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, close_reason
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.hub.clients import Client, ClientState
from metrics_stream.hub.hub import Hub

logger = logging.getLogger(__name__)

Send = Callable[[Any], Awaitable[None]]
WriteShared = Callable[[Sequence[PreparedMessage]], bool]

EXPLAIN_SECONDS = 1.0


async def wait_until_idle(client: Client) -> None:
    """Wait until no write to the client is on its way; of several that wait, one goes on each time.

    Raises CancelledError when the hub has forgotten the client: no write to it ends any more.
    """
    while client.busy_since is not None:
        if client.state is ClientState.GONE:
            raise asyncio.CancelledError
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(done: asyncio.Future[None] = done) -> None:
            if not done.done():
                done.set_result(None)

        client.call_when_idle(wake)
        await done
        # Live frames go first.
        await asyncio.sleep(0)


class SocketSink:
    """The WebSocket of one client as the hub sees it.

    Where the server offers it, a message that several sockets share is written as it is. Otherwise, and while the
    socket takes none, a task sends it, so that the hub never waits.
    """

    def __init__(self, send: Send, extension: Mapping[str, Any], hub: Hub) -> None:
        """`extension` is what the server offers as `metrics_stream.shared_text`, or empty."""
        self._client: Client | None = None
        self._send = send
        self._name: Callable[[str], object] | None = extension.get("name")
        self._write_shared: WriteShared | None = extension.get("write")
        self._drained: Callable[[], Awaitable[object]] | None = extension.get("drained")
        self._backlog: Callable[[], int] | None = extension.get("backlog")
        self._hub = hub
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def client(self) -> Client | None:
        """The client of the hub that has this sink, None before it is registered."""
        return self._client

    @client.setter
    def client(self, client: Client) -> None:
        self._client = client
        if self._name is not None:
            self._name(client.id)

    def write(self, frames: Sequence[PreparedMessage]) -> bool:
        """Write, and return whether all of it was taken at once; otherwise `hub.written` is called at the end."""
        if self._closing:
            return False
        if self._write_shared is not None and self._write_shared(frames):
            return True
        self._start(self._write(frames))
        return False

    async def _write(self, frames: Sequence[PreparedMessage]) -> None:
        assert self.client is not None, "the hub writes only to registered clients"
        if self._drained is not None:
            await self._drained()
        # Still not taken: the server takes no shared messages, or the socket is closed, and then `send` raises.
        if self._write_shared is None or not self._write_shared(frames):
            for frame in frames:
                await self._send({"type": "websocket.send", "text": frame.text})
        self._hub.written(self.client)

    def backlog(self) -> int | None:
        """Return how many bytes the client has not read yet, None on a server that does not know."""
        return None if self._backlog is None else self._backlog()

    def close(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        """Send the reason in an error frame and close, in a task."""
        if not self._closing:
            self._closing = True
            self._start(self._close(code, error, reason))

    async def _close(self, code: CloseCode, error: ErrorCode, reason: str) -> None:
        text = protocol.encode(messages.Error(code=error, message=reason))
        # A client that does not read does not take the reason either; the close must not wait for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXPLAIN_SECONDS):
                await self._send({"type": "websocket.send", "text": text})
        await self._send({"type": "websocket.close", "code": int(code), "reason": close_reason(reason)})

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Servers report a client that is gone as an OSError, or as a RuntimeError when the close was sent before.
        if not isinstance(error, OSError | RuntimeError):
            client_id = self.client.id if self.client is not None else ""
            logger.error("a frame could not be written", exc_info=error, extra={"client_id": client_id})
        if self.client is not None:
            self._hub.remove(self.client)

    def cancel(self) -> None:
        """Cancel what is still being written: the socket is gone."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
