"""The protocol class on its own: a small application in a real uvicorn, asked over plain connections."""

import asyncio
from contextlib import asynccontextmanager

import uvicorn

from metrics_stream.http_protocol import PatientHttpProtocol


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(app=application, **options):
    """Run a server; yield it and a function that opens a connection to it."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=PatientHttpProtocol, lifespan="off", log_level="error", **options)
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    writers = []

    async def connect():
        before = len(server.server_state.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        async with asyncio.timeout(5):
            while len(server.server_state.connections) == before:
                await asyncio.sleep(0)
        return reader, writer

    try:
        yield server, connect
    finally:
        for writer in writers:
            writer.close()
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def ask(connection, path="/"):
    """Return the status of the answer to a request."""
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


async def stop(server):
    server.should_exit = True
    while server.servers[0].is_serving():
        await asyncio.sleep(0)


async def test_a_request_that_was_on_its_way_when_the_server_stopped_is_answered():
    async with serving() as (server, connect):
        late, unused = await connect(), await connect()
        await stop(server)
        assert await ask(late) == 200
        # Neither that connection nor one that never asks for anything holds up the stop.
        assert await asyncio.wait_for(unused[0].read(), 5) == b""
        assert await asyncio.wait_for(late[0].read(), 5) == b""


async def test_past_the_cap_pages_are_answered_503_and_those_that_watch_over_the_process_as_ever():
    async with serving(limit_concurrency=2) as (_, connect):
        first = await connect()
        assert await ask(first) == 200
        second = await connect()
        statuses = {path: await ask(await connect(), path) for path in ("/", "/dashboards/operations/", "/healthz")}
        assert statuses == {"/": 503, "/dashboards/operations/": 503, "/healthz": 200}
        for path in ("/stream/readyz", "/metrics", "/healthz?deep=1"):
            assert await ask(second, path) == 200
