"""How the WebSocket protocol class ends connections: closes, cuts and refusals."""

import asyncio
import contextlib
import json
from collections import Counter

import pytest
import websockets
from websockets.frames import Opcode

from metrics_stream.server import refusals, websocket
from metrics_stream.telemetry import of_process
from tests.support.socket_server import UNREAD, receive, serving


@pytest.fixture
def counted(monkeypatch):
    """Count only the closes of this test."""
    monkeypatch.setattr(of_process, "closes_by_code", Counter())
    return of_process.closes_by_code


async def fill_buffers(ws, application, word):
    """Have the application write until the socket accepts no more."""
    await ws.send(word)
    async with asyncio.timeout(10):
        while not application.refused:
            await asyncio.sleep(0)


@pytest.fixture
def quick_close(monkeypatch):
    """Cut connections that do not end at once."""
    monkeypatch.setattr(websocket, "CLOSE_SECONDS", 0.05)


async def test_the_close_code_and_reason_arrive():
    async with serving() as (url, _), websockets.connect(url) as ws:
        await ws.send("close")
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)
    assert (ws.close_code, ws.close_reason) == (4008, "slow")


async def test_a_client_that_does_not_read_is_refused_more_and_then_cut(quick_close):
    async with serving() as (url, application), websockets.connect(url, **UNREAD) as ws:
        await ws.send("flood")
        async with asyncio.timeout(10):
            while not application.refused or application.connections:
                await asyncio.sleep(0.01)
        ws.transport.abort()


async def test_the_backlog_is_what_the_client_has_not_taken():
    async with serving() as (url, application), websockets.connect(url, **UNREAD) as ws:
        await fill_buffers(ws, application, "fill")
        async with asyncio.timeout(10):
            before = application.backlog()
            assert before >= 65_536  # uvicorn's limit, above which a socket accepts nothing
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
    (told,) = [record for record in caplog.records if record.name == websocket.__name__]
    assert told.getMessage().endswith(" is closed with 4029: more than 100 pings within a second")
    assert told.client_id == "the client"


async def test_a_client_that_answers_no_ping_is_closed_and_counted(counted):
    async with serving(ws_ping_interval=0.05, ws_ping_timeout=0.05) as (url, _), websockets.connect(url) as ws:
        send_frame = ws.protocol.send_frame
        ws.protocol.send_frame = lambda frame: None if frame.opcode is Opcode.PONG else send_frame(frame)
        await asyncio.wait_for(ws.wait_closed(), 5)
    assert (ws.close_code, ws.close_reason) == (1011, "keepalive ping timeout")
    assert counted == {1011: 1}


async def test_what_is_sent_after_the_server_closed_by_itself_finds_the_client_gone():
    async with (
        serving(ws_ping_interval=0.05, ws_ping_timeout=0.05) as (url, application),
        websockets.connect(url) as ws,
    ):
        (protocol,) = application.connections
        send_frame = ws.protocol.send_frame
        ws.protocol.send_frame = lambda frame: None if frame.opcode is Opcode.PONG else send_frame(frame)
        await asyncio.wait_for(ws.wait_closed(), 5)
        # As after a disconnect; another error would be a traceback in the log.
        with pytest.raises(OSError, match="^$"):
            await protocol.send({"type": "websocket.send", "text": "late"})


async def test_a_client_that_breaks_the_rules_is_closed_and_counted(counted):
    async with serving() as (url, _), websockets.connect(url) as ws:
        ws.transport.write(b"\xff\xff\xff\xff")
        await asyncio.wait_for(ws.wait_closed(), 5)
    assert ws.close_code == 1002
    assert counted == {1002: 1}


async def test_past_the_cap_a_handshake_is_answered_503(monkeypatch, caplog):
    monkeypatch.setattr(refusals, "_due_at", {})
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
        assert "2 connections are open already, and a WebSocket of 127.0.0.1 is refused" in caplog.text
        async with asyncio.timeout(10):
            while application.connections:
                await asyncio.sleep(0)
        async with websockets.connect(url) as ws:
            await ws.send("shared 1")
            await receive(ws, 1)


async def test_a_server_that_stops_closes_its_clients_one_after_the_other_and_says_why(monkeypatch, counted):
    monkeypatch.setattr(websocket, "DRAINED_PER_SECOND", 20)
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
    assert closed_at[-1] - closed_at[0] > 0.05  # ten closes are spread at random over half a second


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
    async with serving() as (url, application), websockets.connect(url, **UNREAD) as ws:
        await fill_buffers(ws, application, "flood")
        async with asyncio.timeout(10):
            async for message in until_closed(ws):
                assert message == "x" * 100_000
    assert (ws.close_code, ws.close_reason) == (4008, "slow")


@pytest.mark.parametrize("end", ["a close", "broken rules"])
async def test_a_client_that_ends_and_takes_nothing_more_is_cut(quick_close, end):
    async with serving() as (url, application), websockets.connect(url, **UNREAD, close_timeout=0.01) as ws:
        await fill_buffers(ws, application, "fill")
        async with asyncio.timeout(10):
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
    async with serving() as (url, application), websockets.connect(url, **UNREAD) as ws:
        await fill_buffers(ws, application, "fill")
        async with asyncio.timeout(10):
            ws.transport.abort()
            while application.connections or not application.ended:
                await asyncio.sleep(0)
