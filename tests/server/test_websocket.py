"""The protocol class on its own: a small application in a real uvicorn, asked by the `websockets` client."""

import asyncio
import contextlib
import json
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import uvicorn
import websockets
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.uri import parse_uri

from metrics_stream.core.protocol.prepared_message import EXTENSION, PreparedMessage
from metrics_stream.server import websocket as socket_protocol
from metrics_stream.server.http import PatientHttpProtocol
from metrics_stream.server.websocket import StreamSocketProtocol
from metrics_stream.telemetry import of_process

FIELDS = ("throughput_tps", "requests_total", "p99_response_time_ms", "error_rate", "queue_depth", "cpu_utilization")


def in_row(number):
    """Return a message that repeats the keys of the others, as metrics do."""
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
        except AssertionError as fault:  # uvicorn would only log it
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


@pytest.fixture
def counted(monkeypatch):
    """Count the closes of this test alone."""
    monkeypatch.setattr(of_process, "closes_by_code", Counter())
    return of_process.closes_by_code


@pytest.fixture
def quick_close(monkeypatch):
    """Cut connections that do not end at once."""
    monkeypatch.setattr(socket_protocol, "CLOSE_SECONDS", 0.05)


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
    "a server that must not keep its context": {
        "compression": None,
        "extensions": [ClientPerMessageDeflateFactory(server_no_context_takeover=True)],
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


@pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
async def test_a_row_of_messages_arrives_whoever_came_midway_or_got_others_between(extensions):
    expected = [in_row(number) for number in range(40)]
    async with contextlib.AsyncExitStack() as clients:
        url, _ = await clients.enter_async_context(serving())
        speaker, first, second = [
            await clients.enter_async_context(websockets.connect(url, **extensions)) for _ in "123"
        ]
        await first.send("join")
        await receive(first, 1)
        await speaker.send("row 40")
        assert await receive(first, 40) == expected
        await second.send("join")
        await receive(second, 1)
        await first.send("mixed 3")  # messages of its own, which are no part of the row
        await receive(first, 3)
        for _ in range(2):
            await speaker.send("row 40")
            assert await receive(first, 40) == expected
            assert await receive(second, 40) == expected


async def test_a_row_is_a_fraction_of_its_messages_for_those_who_follow_it():
    async with serving() as (url, _), websockets.connect(url) as speaker, websockets.connect(url) as listener:
        await listener.send("join")
        await receive(listener, 1)
        wire = []
        data_received = listener.protocol.receive_data
        listener.protocol.receive_data = lambda data: (wire.append(len(data)), data_received(data))
        await speaker.send("row 200")
        await receive(listener, 200)
    assert sum(wire) < sum(len(PreparedMessage(in_row(number).encode()).wire(12)) for number in range(200)) / 2


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


async def test_a_client_that_does_not_read_is_refused_more_and_then_cut(quick_close):
    # compression=None and no reading: the buffers of both sides fill up.
    unread = {"compression": None, "max_queue": 1, "ping_interval": None}
    async with serving() as (url, application), websockets.connect(url, **unread) as ws:
        await ws.send("flood")
        async with asyncio.timeout(10):
            while not application.refused or application.connections:
                await asyncio.sleep(0.01)
        ws.transport.abort()


async def test_the_backlog_is_what_the_client_has_not_taken():
    unread = {"compression": None, "max_queue": 1, "ping_interval": None}
    async with serving() as (url, application), websockets.connect(url, **unread) as ws:
        await ws.send("fill")
        async with asyncio.timeout(10):
            while not application.refused:
                await asyncio.sleep(0)
            before = application.backlog()
            assert before >= 65_536  # uvicorn's mark, above which a socket takes nothing
            await ws.recv()
            while application.backlog() >= before:
                await ws.recv()
        ws.transport.abort()


async def test_a_flood_of_pings_is_closed_and_ordinary_pings_are_answered(counted, caplog):
    caplog.set_level("INFO")
    async with serving() as (url, application), websockets.connect(url, ping_interval=None) as ws:
        for _ in range(3):
            await asyncio.wait_for(await ws.ping(), 5)
        with contextlib.suppress(websockets.ConnectionClosed):
            for number in range(10_000):
                await ws.ping(str(number))
                await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while application.connections:
                await asyncio.sleep(0)
    assert (ws.close_code, ws.close_reason) == (4029, "more than 100 pings within a second")
    assert counted == {4029: 1}
    (told,) = [record for record in caplog.records if record.name == socket_protocol.__name__]
    assert told.getMessage().endswith(" is closed with 4029: more than 100 pings within a second")
    assert told.client_id == "the client"


async def test_a_client_that_answers_no_ping_is_closed_and_counted(counted):
    async with serving(ws_ping_interval=0.05, ws_ping_timeout=0.05) as (url, _), websockets.connect(url) as ws:
        send_frame = ws.protocol.send_frame
        ws.protocol.send_frame = lambda frame: None if frame.opcode is Opcode.PONG else send_frame(frame)
        await asyncio.wait_for(ws.wait_closed(), 5)
    assert (ws.close_code, ws.close_reason) == (1011, "keepalive ping timeout")
    assert counted == {1011: 1}


async def test_a_client_that_breaks_the_rules_is_closed_and_counted(counted):
    async with serving() as (url, _), websockets.connect(url) as ws:
        ws.transport.write(b"\xff\xff\xff\xff")
        await asyncio.wait_for(ws.wait_closed(), 5)
    assert ws.close_code == 1002
    assert counted == {1002: 1}


async def test_past_the_cap_a_handshake_is_answered_503(monkeypatch, caplog):
    monkeypatch.setattr(StreamSocketProtocol, "tell_of_refusals_at", 0.0)
    before = of_process.refused_clients
    async with serving(limit_concurrency=2) as (url, application):
        async with websockets.connect(url), websockets.connect(url):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url)
        response = refused.value.response
        assert response.status_code == 503
        assert 2 <= int(response.headers["Retry-After"]) <= 10
        assert response.body == b"2 connections are open already; come back\n"
        assert of_process.refused_clients == before + 1
        assert "2 connections are open already, and more are refused" in caplog.text
        async with asyncio.timeout(10):
            while application.connections:
                await asyncio.sleep(0)
        async with websockets.connect(url) as ws:
            await ws.send("shared 1")
            await receive(ws, 1)


async def test_a_server_that_stops_closes_its_clients_one_after_the_other_and_says_why(monkeypatch, counted):
    monkeypatch.setattr(socket_protocol, "DRAINED_PER_SECOND", 20)
    async with contextlib.AsyncExitStack() as clients:
        async with serving(timeout_graceful_shutdown=5) as (url, _):
            sockets = [await clients.enter_async_context(websockets.connect(url)) for _ in range(10)]
            loop = asyncio.get_running_loop()

            async def farewell(ws):
                message = json.loads(await ws.recv())
                await ws.wait_closed()
                return message, ws.close_code, ws.close_reason, loop.time()

            farewells = [asyncio.create_task(farewell(ws)) for ws in sockets]
        said = await asyncio.gather(*farewells)
    reason = "the server stops; come back in a moment"
    assert {(message["code"], code, why) for message, code, why, _ in said} == {("going_away", 4001, reason)}
    assert counted == {4001: 10}
    closed_at = sorted(instant for *_, instant in said)
    assert closed_at[-1] - closed_at[0] > 0.05  # of half a second in which ten are spread by chance


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


@pytest.mark.parametrize("end", ["a close", "broken rules"])
async def test_a_client_that_ends_and_takes_nothing_more_is_cut(quick_close, end):
    unread = {"compression": None, "max_queue": 1, "ping_interval": None, "close_timeout": 0.01}
    async with serving() as (url, application), websockets.connect(url, **unread) as ws:
        await ws.send("fill")
        async with asyncio.timeout(10):
            while not application.refused:
                await asyncio.sleep(0)
            ws.transport.pause_reading()
            if end == "a close":
                ws.protocol.send_close(1000)
                ws.transport.write(b"".join(ws.protocol.data_to_send()))
            else:
                ws.transport.write(b"\xff\xff\xff\xff")
            while application.connections:
                await asyncio.sleep(0)
            while not application.ended:
                await asyncio.sleep(0)
        ws.transport.abort()


async def test_a_client_that_vanishes_while_much_waits_for_it_leaves_nothing_behind():
    unread = {"compression": None, "max_queue": 1, "ping_interval": None}
    async with serving() as (url, application), websockets.connect(url, **unread) as ws:
        await ws.send("fill")
        async with asyncio.timeout(10):
            while not application.refused:
                await asyncio.sleep(0)
            ws.transport.abort()
            while application.connections or not application.ended:
                await asyncio.sleep(0)


async def test_bytes_that_come_one_by_one_are_understood():
    client = ClientProtocol(parse_uri("ws://127.0.0.1/"), extensions=[ClientPerMessageDeflateFactory()])
    async with serving(http=PatientHttpProtocol) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", parse_uri(url).port)

        async def say():
            for byte in b"".join(client.data_to_send()):
                writer.write(bytes((byte,)))
                # The server, in this loop, reads it before the next.
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        async def hear():
            while not (events := client.events_received()):
                data = await asyncio.wait_for(reader.read(1), 5)
                client.receive_data(data)
            return events[0]

        client.send_request(client.connect())
        await say()
        assert (await hear()).status_code == 101
        client.send_text(b"shared 1")
        await say()
        assert (await hear()).data.decode() == f"0 {LONG}"
        client.send_close(1000)
        await say()
        assert (await hear()).opcode is Opcode.CLOSE
        writer.close()
