"""No message of the server shows a name that the client may not see: every client message is sent, in every mode.

A new message in either direction fails here until the walk knows it.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.utils import timezone

from metrics_stream.access import monitor
from metrics_stream.broadcast import broadcast_many, make_metric
from metrics_stream.bus.bus import declare_server
from metrics_stream.bus.messages import Published
from metrics_stream.consumers.event_stream import with_event_streams
from metrics_stream.core.protocol.messages import CLIENT_MESSAGES, MODES, SERVER_MESSAGES, message_name
from metrics_stream.runs import lifecycle
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from tests.support.access import bearer, page_of
from tests.support.clients import opened
from tests.support.events import EventClient
from tests.support.http_server import serving
from tests.support.markers import (
    AGENT,
    DECLARED,
    FIELD,
    MARK,
    NAME,
    OURS,
    PRESET,
    RUN,
    SCENARIO,
    SOURCE,
    TYPE,
    browsers,
    change_definitions,
    closed_with_types,
    plant,
    published,
    superuser,
)

pytestmark = pytest.mark.django_db(transaction=True)

# As long as MARK, and between the same names in order.
NOTHING = "quorum"

PATHS = ["/ws/metrics/", f"/ws/metrics/?preset={PRESET}", "/ws/metrics/?preset=both&backfill_seconds=60"]


def script() -> dict[str, list[dict[str, Any]]]:
    """Return the messages of each type that are sent in turn."""
    now = timezone.now().isoformat()
    past = {"backfill_seconds": 60}
    return {
        "ping": [{}],
        "set_update_interval": [{"interval_seconds": 0.1}],
        "set_batching": [{"mode": mode} for mode in MODES],
        "subscribe": [
            {"metric_types": ["all"], "resume_from": "01a207becfd716054d9f:system=1,agent=1"},
            {"metric_types": ["all"], **past},
            {"metric_types": [TYPE]},
            {"metric_types": ["no such type"]},
        ],
        "set_filters": [
            {"filters": {"sources": [SOURCE, OURS], "agent_ids": [AGENT, "a1"], "fields": [FIELD, "throughput_tps"]}},
            {"filters": {"keys": {"name": [NAME, "/ours"], "scenario": ["", SCENARIO], "method": ["*"]}}},
            {"filters": {"keys": {"agent_id": [AGENT]}}},
            {"filters": {"agents": [AGENT]}},
            {"filters": {}},
        ],
        "get_latest": [{}, {"metric_types": [TYPE]}],
        "replay": [
            {"from": now, "paused": True, **past},
            {"run": RUN, **past},
            {"run": "ours", "speed": 60, **past},
            {"run": "ours", "from": "yesterday"},
        ],
        "seek": [{"to": "2027-01-15T08:00:01Z", **past}],
        "pause": [{}],
        "resume": [{"speed": 60}],
        "live": [past],
        "unsubscribe": [{"metric_types": [TYPE]}, {"metric_types": ["all"]}],
        "authenticate": [{"token": f"mst_{MARK}"}],
    }


def test_the_walk_knows_every_message():
    assert set(script()) == {message_name(message) for message in CLIENT_MESSAGES}


class Walker:
    """One client that sends everything, and keeps what it hears."""

    turns = 0
    """How often the definitions were changed."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.heard: list[dict[str, Any]] = []
        self.types: set[str] = set()
        self._ref = 0

    async def ask(self, **message: Any) -> str:
        """Send a message and return the reply as JSON, without what the message itself named."""
        self._ref += 1
        await self.client.say(**message, ref=self._ref)
        while True:
            reply = await self.client.hear()
            self.types.add(reply["type"])
            if reply.pop("ref", None) == self._ref:
                break
            self.heard.append(reply)
        for name in ("timestamp", "at", "from", "until"):
            reply.pop(name, None)
        return json.dumps(reply).replace(NOTHING, MARK)

    async def compare(self, **message: Any) -> None:
        """Require the same reply for a name that may not be seen as for a name that does not exist."""
        absent = json.loads(json.dumps(message).replace(MARK, NOTHING))
        assert await self.ask(**message) == await self.ask(**absent), message

    async def everything(self, *, may_compare: bool) -> None:
        """Send every message, in every mode, while metrics are published."""
        publish_from_two_programs()
        for name, bodies in script().items():
            for body in bodies:
                if name == "authenticate":
                    continue  # it ends the connection
                message = {"type": name, **body}
                if may_compare and MARK in json.dumps(message):
                    await self.compare(**message)
                else:
                    self.heard.append(json.loads(await self.ask(**message)))
                await broadcast_many(published())
                get_runtime().source_watch.look()
                await self.wait_for_frame()
        await self.follow_definitions()
        get_runtime().hub.broadcast_status("stale")
        await self.wait_for_frame()

    async def follow_definitions(self) -> None:
        """Hear what is told of metric types and presets that change."""
        Walker.turns += 1
        self.types.discard("catalogue_changed")
        await sync_to_async(change_definitions)(Walker.turns)
        await get_runtime().definitions.read()
        for _ in range(200):
            await self.ask(type="ping")
            if "catalogue_changed" in self.types or DECLARED not in self.heard[0]["metric_types"]:
                break
            await asyncio.sleep(0.02)
        await self.wait_for_frame()

    async def wait_for_frame(self) -> None:
        """Hear what is sent for what was published."""
        for _ in range(2):
            await self.ask(type="ping")


def publish_from_two_programs() -> None:
    """Let each source that is published have two producers."""
    for turn in range(6):
        for item in published():
            get_runtime().source_watch.observe(Published([make_metric(**item)], origin=f"{MARK}:{turn % 2}"))


async def walk(path: str, headers: Any, *, may_compare: bool) -> Walker:
    async with opened(path, [(b"host", b"testserver"), *headers], address="10.0.0.1") as client:
        walker = Walker(client)
        first = await client.hear()
        walker.types.add(first["type"])
        walker.heard.append(first)
        if first["type"] == "welcome":
            await walker.everything(may_compare=may_compare)
            await client.say(type="authenticate", token=script()["authenticate"][0]["token"])
            while (message := await client.receive_output(timeout=5))["type"] == "websocket.send":
                walker.heard.append(json.loads(message["text"]))
                walker.types.add(walker.heard[-1]["type"])
        return walker


@pytest.fixture
async def kinds(monkeypatch):
    monkeypatch.setattr(monitor, "SETTLE_SECONDS", 0.0)
    declare_server()
    with closed_with_types:
        yield await sync_to_async(prepare)()
        await stop_runtime()


def prepare():
    plant()
    lifecycle.tell_history()  # of two runs of the source that may be seen
    found = browsers()
    token = found.pop("token")[1]["Authorization"].removeprefix("Bearer ")
    by_session = {name: page_of(browser) for name, (browser, _) in found.items()}
    return {**by_session, "token": (bearer(token),), "root": page_of(superuser())}


async def test_no_message_shows_what_the_client_may_not_see(kinds):
    await broadcast_many(published())
    types: set[str] = set()
    for kind, headers in kinds.items():
        if kind == "root":
            continue
        for path in PATHS:
            walker = await walk(path, headers, may_compare=True)
            types |= walker.types
            for message in walker.heard:
                # The error repeats the name in the address, as for a preset that does not exist.
                text = re.sub(r"unknown preset \S+;", "", json.dumps(message))
                assert MARK not in text, (kind, path, message)
            if kind == "viewer":  # not the other run of the same metrics, which was started later
                assert '"run": "ours"' in json.dumps(walker.heard)
    assert types == {message_name(message) for message in SERVER_MESSAGES}


# --- the same as server-sent events ---

EVENT_QUERIES = [
    "",
    f"?types={TYPE}",
    f"?preset={PRESET}",
    f"?sources={SOURCE},{OURS}&agent_ids={AGENT},a1&fields={FIELD}",
]


async def events_of(port: int, query: str, headers: Any) -> list[str]:
    """Return what a client of the event stream hears while metrics are published: its events, or the refusal."""
    named = {name.decode(): text.decode() for name, text in headers if name in (b"cookie", b"authorization")}
    client = await EventClient.open(port, f"/api/v1/stream/{query}", **named)
    try:
        if client.status != 200:
            refusal = await client.reader.readexactly(int(client.headers["content-length"]))
            # It repeats what the address names, as for a name that does not exist.
            return [re.sub(r"unknown (preset|metric type) '[^']*'", "", refusal.decode())]
        heard = [json.dumps(await client.hear_named("welcome"))]
        heard.append(json.dumps(await client.hear_named("subscription_confirmed")))
        publish_from_two_programs()
        await broadcast_many(published())
        get_runtime().source_watch.look()
        get_runtime().hub.broadcast_status("stale")
        while not heard[-1].startswith('{"event": "status"'):
            heard.append(json.dumps(await client.hear()))
        return heard
    finally:
        client.cut()


async def test_no_event_shows_what_the_client_may_not_see(kinds):
    await broadcast_many(published())
    said = ""
    async with serving(with_event_streams(get_asgi_application())) as (server, _):
        port = server.servers[0].sockets[0].getsockname()[1]
        for kind, headers in kinds.items():
            for query in EVENT_QUERIES:
                for text in await events_of(port, query, headers):
                    # What the client itself has asked for is repeated in its subscription.
                    shown = re.sub(r'"filters": {[^{}]*}', "", text) if query else text
                    assert kind == "root" or MARK not in shown, (kind, query, text)
                    said += text if kind == "root" else ""
    for name in (TYPE, SOURCE, AGENT, FIELD):
        assert name in said, name


async def test_superuser_hears_what_is_planted(kinds):
    await broadcast_many(published())
    heard = ""
    for path in PATHS:
        heard += json.dumps((await walk(path, kinds["root"], may_compare=False)).heard)
    for name in (TYPE, SOURCE, AGENT, FIELD, RUN, PRESET):
        assert name in heard, name
