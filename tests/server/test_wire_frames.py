"""Frames on the wire: lengths, pings, reserved bits and opcodes, fragments, masks (RFC 6455, 5)."""

import pytest

from tests.support.wire import BINARY, CLOSE, CONT, MAX_SIZE, PING, PONG, TEXT, closing, cut, fragments, frame

HALF = "Hällo – 𝄞".encode()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 300_000, MAX_SIZE])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_any_length_comes_back(talk, opcode, size):
    payload = b"*" * size if opcode == TEXT else b"\x00\xfe" * (size // 2) + b"\xff" * (size % 2)
    talk(frame(opcode, payload), [(opcode, payload)])


@pytest.mark.parametrize("piece", [1, 2, 3, 997])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 700])
def test_a_message_comes_back_however_its_bytes_arrive(talk, size, piece):
    payload = b"*" * size
    talk(frame(TEXT, payload) + frame(BINARY, payload), [(TEXT, payload), (BINARY, payload)], size=piece)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_over_the_limit_is_closed_with_1009(talk, opcode):
    talk(frame(opcode, b"*" * (MAX_SIZE + 1)), [], 1009)


@pytest.mark.parametrize("fragment", [MAX_SIZE // 2 + 1, 400_000])
def test_fragments_over_the_limit_are_closed_with_1009(talk, fragment):
    talk(fragments(BINARY, *cut(b"*" * (MAX_SIZE + 2), fragment)), [], 1009)


def test_a_frame_that_says_it_has_an_exabyte_is_closed_with_1009(talk):
    talk(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + b"mask", [], 1009)


# --- pings and pongs ---


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125])
@pytest.mark.parametrize("piece", [0, 1])
def test_a_ping_is_answered_with_its_payload(talk, payload, piece):
    talk(frame(PING, payload), [(PONG, payload)], size=piece)


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_a_control_frame_over_125_bytes_is_closed_with_1002(talk, opcode):
    talk(frame(opcode, b"*" * 126), [], 1002)


@pytest.mark.parametrize("payload", [b"", b"nobody asked"])
def test_a_pong_that_nobody_asked_for_is_ignored(talk, payload):
    talk(frame(PONG, payload) + frame(PING, b"still there?"), [(PONG, b"still there?")])


@pytest.mark.parametrize("piece", [0, 1, 7])
def test_many_pings_are_answered_in_order(talk, piece):
    payloads = [b"ping %d" % number for number in range(10)]
    talk(b"".join(frame(PING, each) for each in payloads), [(PONG, each) for each in payloads], size=piece)


# --- reserved bits and opcodes ---


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [CONT, TEXT, BINARY, CLOSE, PING, PONG])
def test_a_reserved_bit_without_an_extension_is_closed_with_1002(talk, opcode, rsv):
    before = frame(TEXT, b"begun", fin=False) if opcode == CONT else b""
    talk(before + frame(opcode, b"" if opcode == CLOSE else b"hello", rsv=rsv), [], 1002)


@pytest.mark.parametrize("payload", [b"", b"hello"])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_a_reserved_opcode_is_closed_with_1002(talk, opcode, payload):
    talk(frame(opcode, payload), [], 1002)


@pytest.mark.parametrize("opcode", [5, 13])
def test_what_comes_after_a_reserved_opcode_is_not_read(talk, opcode):
    talk(frame(opcode) + frame(PING, b"more") + frame(TEXT, b"more"), [], 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_a_frame_without_a_mask_is_closed_with_1002(talk, opcode):
    talk(frame(opcode, b"" if opcode == CLOSE else b"hello", masked=False), [], 1002)


# --- fragments ---


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_in_fragments_is_closed_with_1002(talk, opcode):
    talk(frame(opcode, b"", fin=False) + frame(CONT), [], 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize(
    "parts",
    [[b"one", b"two"], [b"", b""], [b"", b"", b""], [b"", b"middle", b""], [b"a"] * 40, cut(b"x" * 70_000, 1_300)],
    ids=["two", "empty", "three empty", "only the middle", "forty", "an odd size"],
)
@pytest.mark.parametrize("piece", [0, 211])
def test_fragments_come_back_as_one_message(talk, opcode, parts, piece):
    talk(fragments(opcode, *parts), [(opcode, b"".join(parts))], size=piece)


@pytest.mark.parametrize("size", [64, 256, 1_024, 65_536, MAX_SIZE])
def test_a_message_of_the_largest_size_comes_in_fragments_of_any_size(talk, size):
    payload = b"*" * (MAX_SIZE if size > 256 else 200_000)
    talk(fragments(BINARY, *cut(payload, size)), [(BINARY, payload)])


def test_too_many_fragments_are_closed(talk):
    talk(fragments(TEXT, *[b""] * 5_000), [], 4509)


def test_pings_between_fragments_are_answered_at_once(talk):
    sent = frame(TEXT, b"one ", fin=False) + frame(PING, b"first") + frame(CONT, b"two ", fin=False)
    sent += frame(PING, b"second") + frame(CONT, b"three")
    talk(sent, [(PONG, b"first"), (PONG, b"second"), (TEXT, b"one two three")])


def test_pongs_between_fragments_change_nothing(talk):
    talk(frame(TEXT, b"one ", fin=False) + frame(PONG, b"x") + frame(CONT, b"two"), [(TEXT, b"one two")])


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("payload", [b"", b"more"])
def test_a_continuation_of_nothing_is_closed_with_1002(talk, fin, payload):
    talk(frame(CONT, payload, fin=fin), [], 1002)


@pytest.mark.parametrize("fin", [True, False])
def test_a_continuation_after_a_whole_message_is_closed_with_1002(talk, fin):
    talk(fragments(TEXT, b"one", b"two"), [(TEXT, b"onetwo")])
    talk(fragments(TEXT, b"", b"") + frame(CONT, b"three", fin=fin) + frame(TEXT, b"four"), [], 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_a_message_within_another_is_closed_with_1002(talk, opcode, fin):
    talk(frame(TEXT, b"one", fin=False) + frame(opcode, b"another", fin=fin), [], 1002)


def test_messages_after_each_other_come_back_in_order(talk):
    sent = [(TEXT, b"one"), (BINARY, b"two"), (TEXT, b""), (TEXT, "drei ü".encode()), (BINARY, b"\xff")]
    talk(b"".join(frame(*each) for each in sent), sent)


# --- close ---


VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
INVALID = [0, 1, 500, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 65_535]


@pytest.mark.parametrize("code", VALID)
def test_a_close_is_answered_with_its_code(talk, code):
    talk(frame(CLOSE, closing(code)), [], code)


@pytest.mark.parametrize("code", INVALID)
def test_a_close_with_a_code_that_is_not_for_the_wire_is_answered_with_1002(talk, code):
    talk(frame(CLOSE, closing(code, b"why")), [], 1002)


@pytest.mark.parametrize("reason", [b"bye", b"*" * 123, HALF])
def test_a_close_has_a_reason(talk, reason):
    talk(frame(CLOSE, closing(1000, reason)), [], 1000)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (closing(1000, b"*" * 124), 1002),
        (closing(1000, b"\xce\xba\xed\xa0\x80"), 1007),
        (closing(1000, HALF[:-1]), 1007),
        (closing(1000, b"\xff"), 1007),
    ],
    ids=["half a code", "too long", "a surrogate", "half a character", "no UTF-8"],
)
def test_a_malformed_close_is_refused(talk, payload, code):
    talk(frame(CLOSE, payload), [], code)


def test_a_close_without_a_code_is_answered_without_one(talk):
    talk(frame(CLOSE), [], 0)


@pytest.mark.parametrize(
    "after",
    [frame(TEXT, b"late"), frame(PING, b"late"), frame(CLOSE, closing(1001)), frame(CONT), frame(5), b"\xff" * 50],
    ids=["a text", "a ping", "a close", "a continuation", "a reserved opcode", "noise"],
)
def test_nothing_counts_after_a_close(talk, after):
    talk(frame(CLOSE, closing(1000)) + after, [], 1000)


@pytest.mark.parametrize("piece", [0, 1])
def test_a_close_between_fragments_is_answered_with_its_code(talk, piece):
    talk(frame(TEXT, b"begun", fin=False) + frame(CLOSE, closing(1001)), [], 1001, size=piece)
