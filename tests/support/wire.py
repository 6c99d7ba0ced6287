"""WebSocket frames as bytes, and a client that speaks them over a plain connection, right or wrong as a test needs."""

import asyncio
import base64
import os
import socket
import struct
import threading
import zlib
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from metrics_stream.core.protocol.prepared_message import EXTENSION, PreparedMessage
from metrics_stream.server.http import PatientHttpProtocol
from metrics_stream.server.websocket import StreamSocketProtocol

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MAX_SIZE = 2**20
TAIL = b"\x00\x00\xff\xff"


def frame(opcode, payload=b"", *, fin=True, rsv=0, masked=True):
    """Return a frame as a client sends it; `rsv` has the three reserved bits as a number."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mark = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mark | len(payload)])
    elif len(payload) < 65_536:
        head += struct.pack("!BH", mark | 126, len(payload))
    else:
        head += struct.pack("!BQ", mark | 127, len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    size = len(payload)
    whole = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + whole.to_bytes(size, "big")


def closing(code=None, reason=b""):
    """Return the payload of a close."""
    return b"" if code is None else struct.pack("!H", code) + reason


def fragments(opcode, *parts, rsv=0):
    """Return the frames of a message in fragments."""
    last = len(parts) - 1
    return b"".join(
        frame(opcode if number == 0 else CONT, part, fin=number == last, rsv=rsv if number == 0 else 0)
        for number, part in enumerate(parts)
    )


def cut(payload, size):
    """Return a payload in parts of a size."""
    return [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]


@dataclass
class Deflate:
    """What was negotiated: the windows, and who keeps the context."""

    client_window: int = 15
    server_window: int = 15
    client_keeps: bool = True
    server_keeps: bool = True

    def offer(self, *, names_client_window=True):
        """Return the header that offers this."""
        parts = ["permessage-deflate", f"server_max_window_bits={self.server_window}"]
        if names_client_window:
            parts.append(f"client_max_window_bits={self.client_window}")
        parts += [] if self.client_keeps else ["client_no_context_takeover"]
        parts += [] if self.server_keeps else ["server_no_context_takeover"]
        return "; ".join(parts)

    def compressor(self):
        return zlib.compressobj(wbits=-self.client_window)

    def inflater(self):
        return zlib.decompressobj(wbits=-self.server_window)


class Wire:
    """A connection to `port` after a handshake."""

    def __init__(self, port, *, path="/", extensions=None):
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
        head += "" if extensions is None else f"Sec-WebSocket-Extensions: {extensions}\r\n"
        self.connection.sendall(head.encode() + b"\r\n")
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._more()
        answer, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        lines = [line.partition(": ") for line in answer.decode().split("\r\n")[1:]]
        self.extensions = next((value for name, _, value in lines if name.lower() == "sec-websocket-extensions"), None)

    def _more(self):
        part = self.connection.recv(65_536)
        assert part, "the connection ended"
        return part

    def _take(self, size):
        while len(self._buffer) < size:
            self._buffer += self._more()
        part, self._buffer = self._buffer[:size], self._buffer[size:]
        return part

    def send(self, data):
        self.connection.sendall(data)

    def hear(self):
        """Return opcode, payload and reserved bits of the next frame; servers send no fragments here, and no masks."""
        first, second = self._take(2)
        assert first & 0x80
        assert not second & 0x80
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return first & 0x0F, self._take(size), first >> 4 & 7

    def ends(self):
        """Return whether the server has ended the connection and sends nothing more."""
        return not self._buffer and self.connection.recv(1) == b""

    def leave(self):
        self.connection.close()


async def echo(scope, receive, send):
    """Send back what comes: at `/shared` by the extension for shared messages, in one sequence."""
    await receive()
    write = scope["extensions"][EXTENSION]["write"]
    await send({"type": "websocket.accept"})
    context = None
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if scope["path"] == "/shared" and text is not None:
            shared = PreparedMessage(text.encode(), context)
            context = shared.after
            if write([shared]):
                continue
        await send({"type": "websocket.send", "text": text, "bytes": message.get("bytes")})


@contextmanager
def echo_server():
    """Run the echo with the protocol classes of the product in a thread of its own; yield its port."""
    config = uvicorn.Config(
        echo, port=0, http=PatientHttpProtocol, ws=StreamSocketProtocol, ws_max_size=MAX_SIZE, lifespan="off"
    )
    config.log_config = None
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def _no_signals():
    """Leave the signals to the test process; only its main thread could handle them."""
    yield
