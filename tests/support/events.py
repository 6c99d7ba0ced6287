"""A client of server-sent events: parses them as the standard says, and resumes by the last id."""

from __future__ import annotations

import asyncio
import json
from typing import Any


def parse_events(text: bytes) -> list[dict[str, Any]]:
    """Return the events in a text: `event`, `id` (None without one), and `data`, decoded."""
    found = []
    for block in text.decode().split("\n\n"):
        event: dict[str, Any] = {"event": "message", "id": None}
        data = []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name in ("event", "id"):
                event[name] = value
        if data:
            found.append({**event, "data": json.loads("\n".join(data))})
    return found


class EventClient:
    """One HTTP connection to a real server that gets events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self._rest = b""

    @classmethod
    async def open(cls, port: int, path: str, **headers: str) -> EventClient:
        """Send a request; return when the head of the answer is here."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {text}" for name, text in headers.items())]
        client.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        client.status = int(head[0].split()[1])
        client.headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return client

    async def hear(self, timeout: float = 10.0) -> dict[str, Any] | None:
        """Return the next event, None when the answer has ended."""
        while True:
            block, end, rest = self._rest.partition(b"\n\n")
            if end:
                self._rest = rest
                if events := parse_events(block + b"\n\n"):
                    return events[0]
                continue
            size = int(await asyncio.wait_for(self.reader.readline(), timeout) or b"0", 16)
            if size == 0:
                return None
            self._rest += (await asyncio.wait_for(self.reader.readexactly(size + 2), timeout))[:-2]

    async def hear_named(self, name: str) -> dict[str, Any]:
        """Return the next event of a name."""
        while True:
            event = await self.hear()
            assert event is not None, f"the stream has ended without an event {name!r}"
            if event["event"] == name:
                return event

    def cut(self) -> None:
        """Cut the connection as a network does, without a word."""
        self.writer.transport.abort()


def metrics_in(event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of an event; none for events that have no metrics."""
    if not event["event"].startswith("metric_"):
        return []
    data = event["data"]["data"]
    return data if isinstance(data, list) else [data]
