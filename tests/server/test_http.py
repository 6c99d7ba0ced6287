"""The HTTP protocol class alone: a small application in a real uvicorn, with plain connections as clients."""

import asyncio
import json
import socket

import pytest
import websockets

from metrics_stream.server import http as http_protocol
from metrics_stream.server.websocket import StreamSocketProtocol
from metrics_stream.telemetry import of_process
from tests.support.http_server import application, ask, serving


async def stop(server):
    server.should_exit = True
    while server.servers[0].is_serving():
        await asyncio.sleep(0)


async def test_a_request_that_was_on_its_way_when_the_server_stopped_is_answered():
    async with serving() as (server, connect):
        late, unused = await connect(), await connect()
        await stop(server)
        assert await ask(late) == 200
        # Neither this connection nor one without any request delays the stop.
        assert await asyncio.wait_for(unused[0].read(), 5) == b""
        assert await asyncio.wait_for(late[0].read(), 5) == b""


async def test_a_handshake_that_was_on_its_way_when_the_server_stopped_is_answered_and_then_told_why(monkeypatch):
    monkeypatch.setattr(http_protocol, "FIRST_REQUEST_SECONDS", 0.1)

    async def greet(scope, receive, send):
        await receive()
        await asyncio.sleep(0)
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "welcome"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with serving(greet, ws=StreamSocketProtocol) as (server, _):
        address = server.servers[0].sockets[0].getsockname()
        connection = socket.create_connection(address)
        while not server.server_state.connections:
            await asyncio.sleep(0)
        await stop(server)
        async with websockets.connect("ws://127.0.0.1/", sock=connection) as ws:
            assert await asyncio.wait_for(ws.recv(), 5) == "welcome"
            assert json.loads(await asyncio.wait_for(ws.recv(), 5))["code"] == "going_away"
            await asyncio.wait_for(ws.wait_closed(), 5)
        assert (ws.close_code, ws.close_reason) == (4001, "the server stops; come back in a moment")


@pytest.mark.parametrize("asked_before", [0, 2])
@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: "])
async def test_a_connection_that_asks_for_nothing_in_time_is_closed(monkeypatch, asked_before, begun):
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.2)
    async with serving(timeout_keep_alive=0.2) as (server, connect):
        reader, writer = await connect()
        for _ in range(asked_before):
            assert await ask((reader, writer)) == 200
        writer.write(begun)

        async def dribble():
            while begun.endswith(b": "):
                await asyncio.sleep(0.02)
                writer.write(b"x")

        dribbling = asyncio.create_task(dribble())
        answer = await asyncio.wait_for(reader.read(), 5)
        dribbling.cancel()
        # Browsers open connections that they do not use, and some show what they are told on these.
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n") if begun else answer == b""
        writer.close()
        async with asyncio.timeout(5):
            while server.server_state.connections:
                await asyncio.sleep(0)


async def test_a_request_that_takes_longer_to_answer_than_its_head_may_take_is_answered(monkeypatch):
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)

    time_is_over = asyncio.Event()

    async def slow(scope, receive, send):
        await time_is_over.wait()
        await application(scope, receive, send)

    async with serving(slow) as (_, connect):
        answer = asyncio.create_task(ask(await connect()))
        silent, _ = await connect()
        assert await asyncio.wait_for(silent.read(), 5) == b""
        time_is_over.set()
        assert await answer == 200


async def test_a_socket_stays_when_the_time_for_a_request_is_over(monkeypatch):
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)

    async def echo(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message["text"]})

    async with serving(echo, ws=StreamSocketProtocol) as (server, connect):
        port = server.servers[0].sockets[0].getsockname()[1]
        async with websockets.connect(f"ws://127.0.0.1:{port}/") as ws:
            silent, _ = await connect()
            assert await asyncio.wait_for(silent.read(), 5) == b""
            await ws.send("x")
            assert await asyncio.wait_for(ws.recv(), 5) == "x"


async def test_past_the_cap_pages_are_answered_503_and_those_that_watch_over_the_process_as_ever():
    may_answer, begun = asyncio.Event(), []

    async def slow(scope, receive, send):
        if scope["path"] == "/slow":
            begun.append(scope)
            await may_answer.wait()
        await application(scope, receive, send)

    async with serving(slow, limit_concurrency=2) as (_, connect):
        busy = asyncio.create_task(ask(await connect(), "/slow"))
        async with asyncio.timeout(5):
            while not begun:
                await asyncio.sleep(0)
        before = of_process.refused_clients
        statuses = {path: await ask(await connect(), path) for path in ("/", "/dashboards/operations/", "/healthz")}
        assert statuses == {"/": 503, "/dashboards/operations/": 503, "/healthz": 200}
        for path in ("/stream/readyz", "/metrics", "/healthz?deep=1"):
            assert await ask(await connect(), path) == 200
        assert of_process.refused_clients == before + 2
        may_answer.set()
        assert await busy == 200


async def test_those_that_send_nothing_give_way_to_those_that_ask():
    async with serving(limit_concurrency=4) as (server, connect):
        silent = [await connect() for _ in range(4)]
        begun = await connect()
        begun[1].write(b"GET / HTTP/1.1\r\n")
        idle = await connect()
        assert await ask(idle) == 200
        for _ in range(6):
            assert await ask(await connect()) == 200
        assert [await asyncio.wait_for(reader.read(), 5) for reader, _ in silent] == [b""] * 4
        answer = await asyncio.wait_for(begun[0].read(), 5)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.endswith(
            b"all connections of the server are taken, and this one had no complete request; try again\n"
        )
        assert len(server.server_state.connections) <= 5


async def test_a_client_that_takes_nothing_of_a_response_is_cut(monkeypatch):
    monkeypatch.setattr(http_protocol, "TAKE_SECONDS", 0.2)
    ended = asyncio.Event()

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    async with serving(large) as (server, connect):
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        reader._transport.pause_reading()
        await asyncio.wait_for(ended.wait(), 10)
        async with asyncio.timeout(5):
            while server.server_state.connections:
                await asyncio.sleep(0)
