"""A small application in a real uvicorn with the WebSocket protocol class of the product."""

import asyncio
import json
from contextlib import asynccontextmanager

import uvicorn

from metrics_stream.core.protocol.prepared_message import EXTENSION, PreparedMessage
from metrics_stream.server.websocket import StreamSocketProtocol

FIELDS = ("throughput_tps", "requests_total", "p99_response_time_ms", "error_rate", "queue_depth", "cpu_utilization")

UNREAD = {"compression": None, "max_queue": 1, "ping_interval": None}
"""Options of a client that does not read: without compression the buffers of both sides fill up."""


def in_row(number):
    """Return a message of a sequence, with the same keys as the others, as metrics have."""
    return json.dumps({field: number * factor for factor, field in enumerate(FIELDS, start=7)})


LONG = json.dumps({"text": "é " * 500, "numbers": list(range(300))}, ensure_ascii=False)


class Application:
    """Answers `shared N` with N messages by the extension, `mixed N` with every second one by `send`."""

    def __init__(self):
        self.refused = 0
        self.ended = 0
        self.faults = []
        self.row = []
        self.context = None

    async def __call__(self, scope, receive, send):
        if scope["type"] != "websocket":
            return
        try:
            await self.talk(scope, receive, send)
        except AssertionError as fault:  # uvicorn would only log the failure
            self.faults.append(fault)
        self.ended += 1

    async def talk(self, scope, receive, send):
        write = scope["extensions"][EXTENSION]["write"]
        scope["extensions"][EXTENSION]["name"]("the client")
        await receive()
        assert not write([PreparedMessage(b"too early")])
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                assert not write([PreparedMessage(b"too late")])
                return
            word, _, count = message["text"].partition(" ")
            if word == "close":
                await send({"type": "websocket.close", "code": 4008, "reason": "slow"})
                assert not write([PreparedMessage(b"too late")])
            elif word in {"fill", "flood"}:
                self.backlog = scope["extensions"][EXTENSION]["backlog"]
                frame = PreparedMessage(b"x" * 100_000)
                while write([frame]):
                    pass
                self.refused += 1
                if word == "fill":
                    continue
                await send({"type": "websocket.close", "code": 4008, "reason": "slow"})
            elif word == "join":
                self.row.append(write)
                await send({"type": "websocket.send", "text": f"joined {LONG}"})
            elif word == "row":
                for number in range(int(count)):
                    shared = PreparedMessage(in_row(number).encode(), self.context)
                    self.context = shared.after
                    for each in self.row:
                        assert each([shared])
            elif word == "length":
                await send({"type": "websocket.send", "text": str(len(message["text"]))})
            else:
                for number in range(int(count)):
                    text = f"{number} {LONG}"
                    if word == "mixed" and number % 2:
                        await send({"type": "websocket.send", "text": text})
                    else:
                        assert write([PreparedMessage(text.encode())])


@asynccontextmanager
async def serving(**options):
    """Run the server; yield its URL and the application. Fail if an assertion of the application failed."""
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
    """Return the next messages."""
    return [await asyncio.wait_for(ws.recv(), 5) for _ in range(count)]
