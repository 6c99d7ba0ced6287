"""Messages through the WebSocket protocol class: a small application and the `websockets` client."""

import asyncio
import contextlib

import pytest
import websockets
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.uri import parse_uri

from metrics_stream.core.protocol.prepared_message import PreparedMessage
from metrics_stream.server.http import PatientHttpProtocol
from tests.support.socket_server import LONG, in_row, receive, serving

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
        await first.send("mixed 3")  # its own messages, which are not part of the sequence
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


async def test_bytes_that_come_one_by_one_are_understood():
    client = ClientProtocol(parse_uri("ws://127.0.0.1/"), extensions=[ClientPerMessageDeflateFactory()])
    async with serving(http=PatientHttpProtocol) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", parse_uri(url).port)

        async def say():
            for byte in b"".join(client.data_to_send()):
                writer.write(bytes((byte,)))
                # The server runs in this loop and reads the byte before the next one.
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
