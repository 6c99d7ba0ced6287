"""Strangers without a login, at a server that may open few files: whoever else asks is answered as before."""

import asyncio
import contextlib
import select
import socket
from threading import Event

import httpx
import pytest
import websockets

from tests.faults.conftest import fault_stack
from tests.support.control import Control, Producer

pytestmark = pytest.mark.valkey

FILES = 160
STRANGERS = 200

HANDSHAKE = (
    b"GET /ws/metrics/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)

REFUSED = {
    "a cookie of 9,000 bytes": (HANDSHAKE + b"Cookie: a=" + b"x" * 9_000 + b"\r\n\r\n", 431),
    "a query of 9,000 bytes": (HANDSHAKE.replace(b"/ws/metrics/", b"/ws/metrics/?a=" + b"x" * 9_000) + b"\r\n", 414),
    "200 headers": (HANDSHAKE + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n", 431),
    "a body": (HANDSHAKE + b"Content-Length: 5\r\n\r\nhello", 400),
    "a body that does not come": (HANDSHAKE + b"Content-Length: 5\r\n\r\n", 400),
    "an empty chunked body": (HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
}

HALF_OPEN = {
    "silence": b"",
    "half a request line": b"GET /hea",
    "half a handshake": HANDSHAKE,
    "half a page": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    "a form that does not come": b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\na=",
}


@pytest.fixture(scope="module")
def narrow(valkey_url, tmp_path_factory):
    """A server that may open few files."""
    stack = fault_stack(tmp_path_factory.mktemp("narrow"), valkey_url)
    stack.files = FILES
    stack.make_database()
    stack.start()
    with Producer(stack):
        yield stack
    log = stack.log.read_text()
    stack.stop()
    assert "Traceback" not in log
    assert "out of system resource" not in log
    # A few lines of each kind, however many strangers there were.
    assert len([line for line in log.splitlines() if "refusals" in line]) < 60


class Strangers(contextlib.ExitStack):
    """Plain connections that stay until the end of the block."""

    def open(self, stack, sent):
        connection = self.enter_context(socket.create_connection(("127.0.0.1", stack.port), timeout=5))
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return connection


def read_to_the_end(connection):
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return answer


async def assert_answers(stack):
    """Assert that a page, a probe and a new viewer are answered."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=5) as client:
        for path in ("/healthz", "/", "/dashboards/operations/", "/metrics"):
            assert (await client.get(path)).status_code in {200, 404}, path
    async with asyncio.timeout(5), websockets.connect(stack.socket_url) as socket:
        assert "welcome" in await socket.recv()


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
async def test_handshakes_that_cannot_be_served_are_answered_and_leave_the_place_free(narrow, sent, status):
    async with Control(narrow) as control:
        await control.catches_up()
        with Strangers() as strangers:
            for _ in range(STRANGERS):
                connection = await asyncio.to_thread(strangers.open, narrow, sent)
                # The answer and the end come at once, though the stranger stays.
                answer = await asyncio.to_thread(read_to_the_end, connection)
                assert answer.startswith(b"HTTP/1.1 %d " % status)
            await assert_answers(narrow)
            await control.assert_undisturbed()


@pytest.mark.parametrize("sent", HALF_OPEN.values(), ids=HALF_OPEN)
async def test_connections_that_stop_midway_give_way_to_those_that_ask(narrow, sent):
    async with Control(narrow) as control:
        await control.catches_up()
        with Strangers() as strangers:
            for _ in range(STRANGERS):
                await asyncio.to_thread(strangers.open, narrow, sent)
            for _ in range(5):
                await assert_answers(narrow)
            await control.assert_undisturbed()


async def test_connections_that_send_a_byte_now_and_then_give_way(narrow):
    async with Control(narrow) as control:
        await control.catches_up()
        with Strangers() as strangers:
            sent = HANDSHAKE + b"X-Slow: "
            connections = [await asyncio.to_thread(strangers.open, narrow, sent) for _ in range(STRANGERS)]
            ended = Event()

            def dribble():
                while not ended.wait(0.1):
                    for connection in connections:
                        with contextlib.suppress(OSError):
                            connection.send(b"x")

            dribbling = asyncio.create_task(asyncio.to_thread(dribble))
            for _ in range(5):
                await assert_answers(narrow)
            await control.assert_undisturbed()
            ended.set()
            await dribbling


@pytest.mark.parametrize("piece", [65_536, 1_000], ids=["fast", "slow"])
async def test_a_head_of_85_megabytes_holds_up_nobody(narrow, piece):
    async with Control(narrow) as control:
        await control.catches_up()
        with Strangers() as strangers:
            for _ in range(5):
                connection = strangers.open(narrow, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ")
                sent, answer = await asyncio.to_thread(flood, connection, piece)
                assert answer.startswith(b"HTTP/1.1 431 ")
                assert sent < 20_000_000
                await assert_answers(narrow)
        await control.assert_undisturbed()
        assert control.age(0.99) < 0.5


def flood(connection, piece):
    """Send a header of 85 MB until an answer comes; return how much was sent, and the answer."""
    sent = 0
    while sent < 85_000_000 and not select.select([connection], [], [], 0)[0]:
        sent += connection.send(b"x" * piece)
    return sent, connection.recv(65_536)
