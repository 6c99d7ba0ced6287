"""The application on servers without shared messages: every frame is sent with `websocket.send`."""

import asyncio
import json
import subprocess
import sys

import pytest
import websockets

from tests.support.events import EventClient, metrics_in
from tests.support.stack import ROOT, Stack, eventually

SERVERS = {
    "daphne": ["daphne", "--bind", "127.0.0.1", "--port"],
    "uvicorn": ["uvicorn", "--ws", "websockets-sansio", "--log-level", "warning", "--port"],
}


@pytest.fixture(params=SERVERS)
async def server(request, tmp_path):
    """Run a server with the in-memory channel layer."""
    stack = Stack(tmp_path, "")
    with stack.log.open("wb") as log:
        stack.server = subprocess.Popen(
            [sys.executable, "-m", *SERVERS[request.param], str(stack.port), "project.asgi:application"],
            cwd=ROOT,
            env=stack.environment,
            stdout=log,
            stderr=log,
        )
    await eventually(stack.answers, 30, every_seconds=0.1)
    yield stack
    stack.stop()


async def test_an_event_stream_ends_when_its_client_leaves(server):
    path = "/api/v1/stream/?types=stream&interval=0.1"
    client = await EventClient.open(server.port, path)
    first = await client.hear_named("metric_update")
    client.cut()
    again = await EventClient.open(server.port, path, **{"Last-Event-ID": first["id"]})
    confirmed = await again.hear_named("subscription_confirmed")
    assert (confirmed["id"], confirmed["data"]["recovered"]) == (first["id"], True)
    assert metrics_in(await again.hear_named("metric_update"))
    await eventually(lambda: len(server.get("/api/v1/latest/?types=stream")["metrics"]) == 1, 10)
    await eventually(lambda: clients_of(server) == 1, 10)
    again.cut()


def clients_of(server):
    """Return how many clients the process says that it has."""
    [metric] = server.get("/api/v1/latest/?types=stream")["metrics"]
    return metric["data"]["clients"]


async def hear(ws, type_):
    """Return the next message of a type."""
    async with asyncio.timeout(10):
        while (message := json.loads(await ws.recv()))["type"] != type_:
            pass
    return message


async def test_clients_get_what_is_live_and_what_was_before(server):
    async with websockets.connect(server.socket_url) as one, websockets.connect(server.socket_url) as other:
        for ws in (one, other):
            await hear(ws, "welcome")
            # The process publishes this type itself every second, so the test need not publish.
            await ws.send(json.dumps({"type": "subscribe", "metric_types": ["stream"]}))
        updates = [await hear(ws, "metric_update") for ws in (one, other)]
        assert [update["data"]["metric_type"] for update in updates] == ["stream", "stream"]
        for metric_types in (["stream"], ["system", "stream"]):
            await one.send(json.dumps({"type": "subscribe", "metric_types": metric_types, "backfill_seconds": 60}))
            backfill = await hear(one, "backfill")
            assert backfill["metric_types"] == metric_types
            assert backfill["done"]
            assert {"clients", "views"} <= {item["field"] for item in backfill["series"]}
