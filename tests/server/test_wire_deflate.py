"""Compressed messages on the wire: every window, with and without context, in both directions (RFC 7692)."""

import json
import random
import re
import zlib

import pytest

from tests.support.wire import (
    BINARY,
    CLOSE,
    CONT,
    MAX_SIZE,
    PING,
    PONG,
    TAIL,
    TEXT,
    Deflate,
    Wire,
    closing,
    cut,
    fragments,
    frame,
)

RSV1 = 4

random_bytes = random.Random(7692)
MESSAGES = [
    b"",
    b"Hello",
    json.dumps({"metric_type": "system", "data": {"throughput_tps": 812.5}}).encode() * 3,
    json.dumps([{"agent_id": f"agent-{number}", "status": "healthy"} for number in range(400)]).encode(),
    random_bytes.randbytes(3_000).hex().encode(),
    json.dumps([{"agent_id": f"agent-{number}", "status": "healthy"} for number in range(400)]).encode(),
    b"*" * 100_000,
    "κόσμε ".encode() * 500,
]


class Compressed(Wire):
    """A client that compresses what it sends, and inflates with just the window that it asked for."""

    def __init__(self, port, deflate, **options):
        super().__init__(port, extensions=deflate.offer(), **options)
        self.deflate = deflate
        self._compressor, self._inflater = deflate.compressor(), deflate.inflater()

    def compress(self, payload):
        if not self.deflate.client_keeps:
            self._compressor = self.deflate.compressor()
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(TAIL)

    def hear_message(self):
        opcode, payload, rsv = self.hear()
        if rsv == 0:
            return opcode, payload
        assert (opcode in {TEXT, BINARY}, rsv) == (True, RSV1)
        if not self.deflate.server_keeps:
            self._inflater = self.deflate.inflater()
        return opcode, self._inflater.decompress(payload + TAIL)

    def end(self):
        self.send(frame(CLOSE, closing(1000)))
        assert self.hear()[:2] == (CLOSE, closing(1000))
        assert self.ends()
        self.leave()


@pytest.mark.parametrize("path", ["/", "/shared"])
@pytest.mark.parametrize("server_keeps", [True, False], ids=["server keeps", "server forgets"])
@pytest.mark.parametrize("client_keeps", [True, False], ids=["client keeps", "client forgets"])
@pytest.mark.parametrize("window", range(9, 16))
def test_messages_come_back_with_every_window(echo_port, window, client_keeps, server_keeps, path):
    deflate = Deflate(min(window, 12), window, client_keeps, server_keeps)
    wire = Compressed(echo_port, deflate, path=path)
    answered = dict(re.findall(r"(\w+)=(\d+)", wire.extensions))
    assert int(answered.get("server_max_window_bits", 15)) <= window
    assert int(answered["client_max_window_bits"]) >= min(window, 12)
    assert server_keeps or "server_no_context_takeover" in wire.extensions
    for payload in MESSAGES:
        wire.send(frame(TEXT, wire.compress(payload), rsv=RSV1))
        assert wire.hear_message() == (TEXT, payload)
    for payload in MESSAGES:
        wire.send(frame(BINARY, wire.compress(payload), rsv=RSV1))
        assert wire.hear_message() == (BINARY, payload)
    wire.end()


@pytest.mark.parametrize("keeps", [True, False])
def test_a_client_that_names_no_window_may_use_the_largest(echo_port, keeps):
    deflate = Deflate(15, 15, keeps, keeps)
    wire = Compressed.__new__(Compressed)
    Wire.__init__(wire, echo_port, extensions=deflate.offer(names_client_window=False))
    wire.deflate, wire._compressor, wire._inflater = deflate, deflate.compressor(), deflate.inflater()
    assert "client_max_window_bits" not in wire.extensions
    far = random_bytes.randbytes(15_000).hex().encode()
    for payload in (far, far, b"short", far):
        wire.send(frame(TEXT, wire.compress(payload), rsv=RSV1))
        assert wire.hear_message() == (TEXT, payload)
    wire.end()


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; unknown",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "x-webkit-deflate-frame",
    ],
)
def test_an_offer_that_is_not_understood_is_declined_and_another_taken(echo_port, offer):
    wire = Wire(echo_port, extensions=offer)
    assert wire.extensions is None
    wire.send(frame(TEXT, b"plain"))
    assert wire.hear() == (TEXT, b"plain", 0)
    wire.send(frame(TEXT, b"no extension", rsv=RSV1))
    assert wire.hear()[1][:2] == closing(1002)
    wire.leave()
    wire = Wire(echo_port, extensions=f"{offer}, permessage-deflate")
    assert wire.extensions.startswith("permessage-deflate")
    wire.leave()


@pytest.fixture
def wire(echo_port):
    made = Compressed(echo_port, Deflate(12, 15))
    yield made
    made.leave()


def test_compressed_and_plain_messages_may_follow_each_other(wire):
    for number, payload in enumerate(MESSAGES * 2):
        wire.send(frame(TEXT, payload if number % 3 else wire.compress(payload), rsv=0 if number % 3 else RSV1))
        assert wire.hear_message() == (TEXT, payload)
    wire.end()


@pytest.mark.parametrize("size", [1, 2, 5, 100, 1_000])
def test_a_compressed_message_may_come_in_fragments(wire, size):
    for payload in MESSAGES[1:4]:
        wire.send(fragments(TEXT, *cut(wire.compress(payload), size), rsv=RSV1))
        assert wire.hear_message() == (TEXT, payload)
    wire.end()


def test_empty_fragments_and_pings_within_a_compressed_message(wire):
    packed = wire.compress(b"Hello")
    sent = frame(TEXT, b"", fin=False, rsv=RSV1) + frame(CONT, packed[:3], fin=False) + frame(PING, b"x")
    wire.send(sent + frame(CONT, b"", fin=False) + frame(CONT, packed[3:], fin=False) + frame(CONT))
    assert wire.hear()[:2] == (PONG, b"x")
    assert wire.hear_message() == (TEXT, b"Hello")
    wire.end()


def final_block(payload, window=12, zdict=b""):
    packer = zlib.compressobj(wbits=-window, zdict=zdict) if zdict else zlib.compressobj(wbits=-window)
    return packer.compress(payload) + packer.flush(zlib.Z_FINISH)


@pytest.mark.parametrize("closing_block", [b"\x00", b""], ids=["with the empty block", "without"])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_message_may_end_with_a_final_block_and_the_next_ones_arrive(echo_port, closing_block, keeps):
    wire = Compressed(echo_port, Deflate(12, 15, client_keeps=keeps))
    for number in range(6):
        payload = b"message %d " % number * 20
        wire.send(frame(TEXT, final_block(payload) + closing_block, rsv=RSV1))
        assert wire.hear_message() == (TEXT, payload)
    wire.end()


def test_a_stream_after_a_final_block_may_refer_to_what_came_before_it(wire):
    first = random_bytes.randbytes(500).hex().encode()
    wire.send(frame(TEXT, final_block(first) + b"\x00", rsv=RSV1))
    assert wire.hear_message() == (TEXT, first)
    second = final_block(first, zdict=first) + b"\x00"
    assert len(second) < 50
    wire.send(frame(TEXT, second, rsv=RSV1))
    assert wire.hear_message() == (TEXT, first)
    wire.end()


def test_a_message_may_have_several_final_blocks_in_fragments(wire):
    parts = [final_block(b"one "), final_block(b"two "), final_block(b"three") + b"\x00"]
    wire.send(frame(TEXT, b"".join(parts), rsv=RSV1) + fragments(TEXT, *parts, rsv=RSV1))
    assert wire.hear_message() == wire.hear_message() == (TEXT, b"one two three")
    wire.end()


# Deflate's own kinds of blocks: stored, with fixed codes, and several in one message (RFC 7692, 7.2.3).
HELLO = {
    "fixed codes": b"\xf2\x48\xcd\xc9\xc9\x07\x00",
    "stored": b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
    "two blocks": b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    "a final block": b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
}


@pytest.mark.parametrize("packed", HELLO.values(), ids=HELLO)
def test_every_kind_of_block_is_understood(wire, packed):
    wire.send(frame(TEXT, packed, rsv=RSV1) + frame(TEXT, packed, rsv=RSV1))
    assert wire.hear_message() == wire.hear_message() == (TEXT, b"Hello")
    wire.end()


BROKEN = {
    "noise": (frame(TEXT, b"\xff\xff\xff\xff", rsv=RSV1), 1002),
    "a reserved kind of block": (frame(TEXT, b"\x06", rsv=RSV1), 1002),
    "more final blocks than a message may have": (frame(TEXT, b"\x03\x00" * 40 + b"\x00", rsv=RSV1), 1002),
    "a compressed continuation": (frame(TEXT, b"\xf2", fin=False, rsv=RSV1) + frame(CONT, b"\x48", rsv=RSV1), 1002),
    "a compressed ping": (frame(PING, b"\x00", rsv=RSV1), 1002),
    "a compressed close": (frame(CLOSE, b"\x00\x00", rsv=RSV1), 1002),
    "another reserved bit": (frame(TEXT, HELLO["stored"], rsv=2), 1002),
    "both reserved bits": (frame(TEXT, HELLO["stored"], rsv=6), 1002),
    "no UTF-8": (frame(TEXT, final_block(b"\xff\xfe") + b"\x00", rsv=RSV1), 1007),
    "a megabyte and a byte": (frame(TEXT, final_block(b"*" * (MAX_SIZE + 1)) + b"\x00", rsv=RSV1), 1009),
    "a hundred megabytes": (frame(BINARY, final_block(b"*" * 100_000_000) + b"\x00", rsv=RSV1), 1009),
    "two halves that are too large": (
        fragments(BINARY, final_block(b"*" * 600_000), final_block(b"*" * 600_000) + b"\x00", rsv=RSV1),
        1009,
    ),
}


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_ends_the_connection(wire, sent, code):
    wire.send(sent)
    opcode, payload, _ = wire.hear()
    assert (opcode, payload[:2]) == (CLOSE, closing(code))
    assert wire.ends()


def test_a_message_of_just_the_largest_size_is_taken(wire):
    wire.send(frame(BINARY, wire.compress(b"*" * MAX_SIZE), rsv=RSV1))
    assert wire.hear_message() == (BINARY, b"*" * MAX_SIZE)
    wire.end()
