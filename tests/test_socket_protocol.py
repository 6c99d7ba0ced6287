"""The protocol class on its own: a small application in a real uvicorn, asked by the `websockets` client."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import uvicorn
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from metrics_stream.core.shared_text import EXTENSION, SharedText
from metrics_stream.socket_protocol import StreamSocketProtocol

LONG = json.dumps({"text": "é " * 500, "numbers": list(range(300))}, ensure_ascii=False)


class Application:
    """Answers `shared N` with N messages by the extension, `mixed N` with every second one by `send`."""

    def __init__(self):
        self.refused = 0
        self.ended = 0
        self.faults = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "websocket":
            return
        try:
            await self.talk(scope, receive, send)
        except AssertionError as fault:  # uvicorn would only log it
            self.faults.append(fault)
        self.ended += 1

    async def talk(self, scope, receive, send):
        write = scope["extensions"][EXTENSION]["write"]
        await receive()
        assert not write(SharedText(b"too early"))
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                assert not write(SharedText(b"too late"))
                return
            word, _, count = message["text"].partition(" ")
            if word == "close":
                await send({"type": "websocket.close", "code": 4008, "reason": "slow"})
                assert not write(SharedText(b"too late"))
            elif word == "flood":
                frame = SharedText(b"x" * 100_000)
                while write(frame):
                    pass
                self.refused += 1
                await send({"type": "websocket.close", "code": 4008, "reason": "slow"})
            elif word == "length":
                await send({"type": "websocket.send", "text": str(len(message["text"]))})
            else:
                for number in range(int(count)):
                    text = f"{number} {LONG}"
                    if word == "mixed" and number % 2:
                        await send({"type": "websocket.send", "text": text})
                    else:
                        assert write(SharedText(text.encode()))


@asynccontextmanager
async def serving(**options):
    application = Application()
    config = uvicorn.Config(application, port=0, ws=StreamSocketProtocol, lifespan="off", log_level="error", **options)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        application.connections = server.server_state.connections
        yield f"ws://127.0.0.1:{port}/", application
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)
    assert application.faults == []


async def receive(ws, count):
    return [await asyncio.wait_for(ws.recv(), 5) for _ in range(count)]


EXTENSIONS = {
    "no deflate": {"compression": None},
    "deflate": {"compression": "deflate"},
    "a small window": {
        "compression": None,
        "extensions": [ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9)],
    },
    "client without context": {
        "compression": None,
        "extensions": [ClientPerMessageDeflateFactory(client_no_context_takeover=True)],
    },
}


@pytest.mark.parametrize("kind", ["shared", "mixed"])
@pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
async def test_every_message_arrives_as_it_was(kind, extensions):
    async with serving() as (url, _), websockets.connect(url, **extensions) as ws:
        await ws.send(f"{kind} 12")
        assert await receive(ws, 12) == [f"{number} {LONG}" for number in range(12)]


async def test_a_server_without_deflate_sends_plain_frames():
    async with serving(ws_per_message_deflate=False) as (url, _), websockets.connect(url) as ws:
        assert not ws.protocol.extensions
        await ws.send("mixed 4")
        assert await receive(ws, 4) == [f"{number} {LONG}" for number in range(4)]


async def test_messages_in_fragments_arrive_whole():
    async with serving() as (url, _), websockets.connect(url) as ws:
        await ws.send(["length ", "x" * 3000, "y" * 3000])
        assert await receive(ws, 1) == ["6007"]


async def test_the_close_code_and_reason_arrive():
    async with serving() as (url, _), websockets.connect(url) as ws:
        await ws.send("close")
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)
    assert (ws.close_code, ws.close_reason) == (4008, "slow")


async def test_a_client_that_does_not_read_is_refused_more_and_then_cut(monkeypatch):
    init = StreamSocketProtocol.__init__

    def impatient(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.close_timeout = 0.05

    monkeypatch.setattr(StreamSocketProtocol, "__init__", impatient)
    # compression=None and no reading: the buffers of both sides fill up.
    unread = {"compression": None, "max_queue": 1, "ping_interval": None}
    async with serving() as (url, application), websockets.connect(url, **unread) as ws:
        await ws.send("flood")
        async with asyncio.timeout(10):
            while not application.refused or application.connections:
                await asyncio.sleep(0.01)
        ws.transport.abort()


async def test_a_client_that_goes_away_ends_the_application():
    async with serving() as (url, application):
        async with websockets.connect(url) as ws:
            await ws.send("shared 1")
            await receive(ws, 1)
            assert application.ended == 0
        async with asyncio.timeout(10):
            while not application.ended:
                await asyncio.sleep(0)


async def until_closed(ws):
    while True:
        try:
            yield await ws.recv()
        except websockets.ConnectionClosed:
            return


async def test_a_client_that_reads_again_learns_why_it_is_closed():
    unread = {"compression": None, "max_queue": 1, "ping_interval": None}
    async with serving() as (url, application), websockets.connect(url, **unread) as ws:
        await ws.send("flood")
        async with asyncio.timeout(10):
            while not application.refused:
                await asyncio.sleep(0)
            async for message in until_closed(ws):
                assert message == "x" * 100_000
    assert (ws.close_code, ws.close_reason) == (4008, "slow")
