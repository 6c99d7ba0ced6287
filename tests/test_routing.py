"""Which WebSockets the server accepts, and how it starts and stops the runtime."""

import asyncio

import pytest

from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.clients import Client, connected


@pytest.fixture(autouse=True)
async def stopped_runtime():
    yield
    await stop_runtime()


async def is_accepted(origin, host, *, scheme="ws"):
    headers = [(b"host", host)] + ([] if origin is None else [(b"origin", origin)])
    client = Client(stream_application(None), "/ws/metrics/", headers=headers)
    client.scope["scheme"] = scheme
    accepted, _ = await client.connect(timeout=5)
    await client.disconnect(timeout=5)
    return accepted


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (b"http://localhost:8000", b"localhost:8000", "ws"),
        (b"http://testserver", b"testserver:80", "ws"),
        (b"https://testserver", b"testserver", "wss"),
        (b"https://portal.example:8443", b"testserver", "ws"),
        (b"HTTP://TestServer", b"testserver", "ws"),
        (None, b"testserver", "ws"),
    ],
)
async def test_pages_of_this_server_and_programs_may_connect(origin, host, scheme, settings):
    settings.ALLOWED_ORIGINS = ["https://portal.example:8443"]
    assert await is_accepted(origin, host, scheme=scheme)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (b"http://evil.example", b"testserver", "ws"),
        (b"http://testserver.evil.example", b"testserver", "ws"),
        (b"http://sibling.testserver", b"testserver", "ws"),
        (b"http://testserver:8001", b"testserver:8000", "ws"),
        (b"http://testserver", b"testserver", "wss"),
        (b"https://testserver", b"testserver", "ws"),
        (b"http://evil.example", b"evil.example", "ws"),  # a name of theirs that leads here
        (b"https://portal.example", b"testserver", "ws"),
        (b"null", b"testserver", "ws"),
        (b"", b"testserver", "ws"),
        (b"http://", b"testserver", "ws"),
        (b"http://user@testserver", b"testserver", "ws"),
        (b"https://user:password@portal.example:8443", b"testserver", "ws"),
        (b"https://portal.example:8443/", b"testserver", "ws"),
        (b"http://testserver/x", b"testserver", "ws"),
        (b"http://testserver?x", b"testserver", "ws"),
        (b"http://testserver#x", b"testserver", "ws"),
        (b"http://testserver ", b"testserver", "ws"),
        (b"file://", b"testserver", "ws"),
        (b"ftp://testserver:80", b"testserver:80", "ws"),
        (b"//testserver", b"testserver", "ws"),
        (b"http://testserver:port", b"testserver", "ws"),
        (b"\xff", b"testserver", "ws"),
    ],
)
async def test_pages_of_other_servers_may_not(origin, host, scheme, settings):
    settings.ALLOWED_ORIGINS = ["https://portal.example:8443"]
    assert not await is_accepted(origin, host, scheme=scheme)


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/other/", "/ws/metrics", "/ws/metrics/more/", "//", "/\n"])
@pytest.mark.parametrize("origin", [None, b"http://testserver"])
async def test_every_other_address_is_refused(path, origin):
    headers = [(b"host", b"testserver")] + ([] if origin is None else [(b"origin", origin)])
    client = Client(stream_application(None), path, headers=headers)
    accepted, _ = await client.connect(timeout=5)
    assert not accepted


async def test_the_server_starts_and_stops_the_runtime_through_lifespan():
    application = stream_application(None)
    inbox: asyncio.Queue = asyncio.Queue()
    outbox: asyncio.Queue = asyncio.Queue()
    serving = asyncio.create_task(application({"type": "lifespan"}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    assert await outbox.get() == {"type": "lifespan.startup.complete"}
    async with connected() as client:
        await client.ask({"type": "subscribe"})
        await inbox.put({"type": "lifespan.shutdown"})
        assert await outbox.get() == {"type": "lifespan.shutdown.complete"}
        assert (await client.hear())["code"] == "going_away"
    await serving
