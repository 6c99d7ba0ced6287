"""WebSocket clients over the real routing, in the process of the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator

from metrics_stream.routing import stream_application

Headers = Sequence[tuple[bytes, bytes]]


class Client(WebsocketCommunicator):
    """A client that sends any text, or messages given as a dict or as keywords."""

    welcome: dict[str, Any]
    position: str | None = None
    """That of the last message."""

    async def say(self, message: str | dict[str, Any] | None = None, /, **keys: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(keys if message is None else message)
        await self.send_to(text_data=text)

    async def hear(self) -> dict[str, Any]:
        """Return the next message; its `position`, which is different each time, is kept aside."""
        message: dict[str, Any] = json.loads(await self.receive_from(timeout=5))
        self.position = message.pop("position", None)
        return message

    async def ask(self, message: str | dict[str, Any] | None = None, /, **keys: Any) -> dict[str, Any]:
        """Send a message and return the next one that comes."""
        await self.say(message, **keys)
        return await self.hear()

    async def hear_reply(self, ref: str | int) -> dict[str, Any]:
        """Return the next message with this `ref`, and drop what comes before."""
        while (message := await self.hear()).get("ref") != ref:
            pass
        return message

    async def closed(self) -> int:
        """Return the code of the close that comes next."""
        message = await self.receive_output(timeout=5)
        assert message["type"] == "websocket.close", message
        return int(message["code"])

    async def ends(self) -> tuple[str, int]:
        """Return the code of the error that comes next, and that of the close behind it."""
        error = await self.hear()
        assert error["type"] == "error", error
        return error["code"], await self.closed()


@asynccontextmanager
async def opened(
    path: str = "/ws/metrics/", headers: Headers = (), *, address: str | None = None, application: Any = None
) -> AsyncIterator[Client]:
    """Yield a client whose connection is accepted and that has heard nothing yet; `address` is its network address."""
    client = Client(application or stream_application(None), path, headers=list(headers))
    if address is not None:
        client.scope["client"] = (address, 1234)
    accepted, _ = await client.connect(timeout=5)
    assert accepted
    try:
        yield client
    finally:
        await client.disconnect(timeout=5)


@asynccontextmanager
async def connected(path: str = "/ws/metrics/", headers: Headers = ()) -> AsyncIterator[Client]:
    """Yield a client that has heard its first message, which is its `welcome`."""
    async with opened(path, headers) as client:
        client.welcome = await client.hear()
        yield client
