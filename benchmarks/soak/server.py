"""The application of metrics_stream's project, with addresses that show what the process holds: `/soak/…`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil

from project.asgi import application as real_application

# How many classes or places in the code an answer names.
MOST = 400


def state() -> dict[str, int]:
    """Return what is quick to count."""
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "files": psutil.Process().num_fds(),
        # Blocks that Python's own allocator has given out: they tell growth from fragmentation.
        "blocks": sys.getallocatedblocks(),
    }


def objects() -> dict[str, int]:
    """Collect garbage, then return how many objects of each class there are, the most frequent first."""
    gc.collect()
    kinds = Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.get_objects())
    return dict(kinds.most_common(MOST))


def places() -> dict[str, int]:
    """Collect garbage, then return the bytes that each line holds, the most first; empty without PYTHONTRACEMALLOC."""
    if not tracemalloc.is_tracing():
        return {}
    gc.collect()
    statistics = tracemalloc.take_snapshot().statistics("lineno")
    return {str(item.traceback): item.size for item in statistics[:MOST]}


ANSWERS: dict[str, Callable[[], dict[str, int]]] = {
    "/soak/state": state,
    "/soak/objects": objects,
    "/soak/places": places,
}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer the addresses of ANSWERS, and leave everything else to the project."""
    answer = ANSWERS.get(scope["path"]) if scope["type"] == "http" else None
    if answer is None:
        await real_application(scope, receive, send)
        return
    body = json.dumps(answer()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
