"""A small application in a real uvicorn with the HTTP protocol class of the product, and plain connections to it."""

import asyncio
from contextlib import asynccontextmanager

import uvicorn

from metrics_stream.server.http import PatientHttpProtocol


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
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        async with asyncio.timeout(5):
            while all(each.client != writer.get_extra_info("sockname") for each in server.server_state.connections):
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


async def tell(connection, *parts):
    """Write `parts`, each after the server has had a turn, and return all that it answers until it ends."""
    reader, writer = connection
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer
