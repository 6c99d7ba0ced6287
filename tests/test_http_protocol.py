import asyncio

import uvicorn

from metrics_stream.http_protocol import PatientHttpProtocol


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_a_request_that_was_on_its_way_when_the_server_stopped_is_answered():
    server = uvicorn.Server(
        uvicorn.Config(application, port=0, http=PatientHttpProtocol, lifespan="off", log_level="error")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    unused_reader, unused_writer = await asyncio.open_connection("127.0.0.1", port)
    while len(server.server_state.connections) < 2:
        await asyncio.sleep(0)
    server.should_exit = True
    while server.servers[0].is_serving():
        await asyncio.sleep(0)
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"ok"), 5)
    assert answer.startswith(b"HTTP/1.1 200 ")
    # Neither that connection nor one that never asks for anything holds up the stop.
    assert await asyncio.wait_for(unused_reader.read(), 5) == b""
    assert await asyncio.wait_for(reader.read(), 5) == b""
    await asyncio.wait_for(serving, 5)
    for each in (writer, unused_writer):
        each.close()
