"""ASGI applications that publish to themselves, as the in-memory channel layer requires; each is made by its name.

`stream` is this project. `tutorial` is a Channels application as in the tutorial: every consumer joins the group.
Both publish while they answer `GET /publish?rate=…&count=…&kind=…`, inside the server's own event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import django
from django.conf import settings

from benchmarks.payload import Source, schedule

Application = Callable[[Any, Any, Any], Awaitable[None]]
Put = Callable[[Source, float], Awaitable[None]]


def publishing(application: Application, put: Put) -> Application:
    """Return `application` with the additional address /publish, which makes it publish."""
    sources: dict[str, Source] = {}

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/publish":
            await application(scope, receive, send)
            return
        query = dict(parse_qsl(scope["query_string"].decode()))
        kind, rate, count = query["kind"], float(query["rate"]), int(query["count"])
        source = sources.setdefault(kind, Source(kind))
        start, start_clock = time.time() + 0.01, time.monotonic() + 0.01
        late = 0.0
        for sent_at in schedule(rate, count, start):
            behind = time.monotonic() - start_clock - (sent_at - start)
            # Wait even when late: a publisher that never waits would block all other tasks of the event loop.
            await asyncio.sleep(max(0.0, -behind))
            late = max(late, behind)
            await put(source, sent_at)
        body = json.dumps({"published": count, "late_ms": round(1000 * late, 1)}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

    return answer


def make_stream() -> Application:
    """Return this project's application; it publishes with `broadcast`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from metrics_stream.broadcast import broadcast
    from project.asgi import application

    async def put(source: Source, sent_at: float) -> None:
        await broadcast(*source.next(sent_at), sent_at, source="bench")

    return publishing(application, put)


def make_tutorial() -> Application:
    """Return an application in which every consumer joins the group."""
    settings.configure(
        ALLOWED_HOSTS=["*"],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        INSTALLED_APPS=["channels"],
    )
    django.setup()
    from channels.generic.websocket import AsyncWebsocketConsumer
    from channels.layers import get_channel_layer

    class MetricsConsumer(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.channel_layer.group_add("metrics", self.channel_name)
            await self.accept()

        async def disconnect(self, code: int) -> None:
            await self.channel_layer.group_discard("metrics", self.channel_name)

        async def metric_update(self, event: dict[str, Any]) -> None:
            await self.send(text_data=json.dumps({"type": "metric_update", "data": event["data"]}))

    async def put(source: Source, sent_at: float) -> None:
        metric_type, data = source.next(sent_at)
        metric = {"metric_type": metric_type, "timestamp": sent_at, "source": "bench", "data": data}
        await get_channel_layer().group_send("metrics", {"type": "metric.update", "data": metric})

    return publishing(MetricsConsumer.as_asgi(), put)


@cache
def __getattr__(name: str) -> Application:
    """Return the application with this name; a server may ask for it more than once."""
    makers = {"stream": make_stream, "tutorial": make_tutorial}
    if name not in makers:
        raise AttributeError(name)
    return makers[name]()
