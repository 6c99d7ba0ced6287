"""The project's ASGI application, with addresses that cause faults and one that shows what the server holds."""

import asyncio
import gc
import itertools
import json
import os
import time

import psutil

from metrics_stream.hub import hub
from metrics_stream.runtime.runtime import get_runtime
from project.asgi import application as healthy_application


class InjectedError(Exception):
    """The error with which a test makes the server fail."""


def raise_once(owner, name):
    """Make only the next call of `owner.name` fail."""

    own = vars(owner).get(name)

    def fail(*args, **kwargs):
        if own is None:  # It is an attribute of the class.
            delattr(owner, name)
        else:
            setattr(owner, name, own)
        raise InjectedError(name)

    setattr(owner, name, fail)


def break_batches(times):
    """Make `times` batches fail in the projection of the last of several different filters."""
    by_projection = get_runtime().hub._views.by_type["system"]
    project = list(by_projection)[-1]
    calls = itertools.count(1)

    def fail_at_first(decoded):
        if next(calls) <= times:
            raise InjectedError("project")
        return project(decoded)

    by_projection[fail_at_first] = by_projection.pop(project)
    for view in by_projection[fail_at_first]:
        view.project = fail_at_first


def show():
    process = psutil.Process()
    return {
        **get_runtime().statistics.snapshot(),
        "pid": os.getpid(),
        "tasks": len(asyncio.all_tasks()),
        "fds": process.num_fds(),
        "rss": process.memory_info().rss,
    }


FAULTS = {
    "show": show,
    "collect": gc.collect,
    "block": lambda: time.sleep(3),  # The fault itself: nothing else runs on this event loop meanwhile.
    # Where a batch of metrics enters the hub, where a frame is encoded, and where it is written.
    "publish": lambda: raise_once(get_runtime().hub, "publish"),
    "encode": lambda: raise_once(hub, "build_frames"),
    "write": lambda client_id: raise_once(get_runtime().hub.clients[client_id].sink, "write"),
    # Twice: a frame may already be due and sent at the first failure, but not at the second.
    "project": lambda: break_batches(2),
    "receive": lambda: raise_once(get_runtime().bus, "receive"),
}


async def application(scope, receive, send):
    if scope["type"] != "http" or not scope["path"].startswith("/faults/"):
        await healthy_application(scope, receive, send)
        return
    # An address is the name of a fault and its arguments: /faults/write/<client id>
    name, *concerned = scope["path"].split("/")[2:]
    body = json.dumps(FAULTS[name](*concerned)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
