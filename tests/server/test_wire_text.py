"""Text on the wire is UTF-8: what is comes back, and what is not ends the connection with 1007 (RFC 6455, 8.1)."""

import pytest

from tests.support.wire import CONT, PING, PONG, TEXT, cut, fragments, frame

VALID = {
    "nothing": b"",
    "letters": "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    "greek": "κόσμε".encode(),
    "first of one byte": b"\x00",
    "first of two bytes": "\u0080".encode(),
    "first of three bytes": "\u0800".encode(),
    "first of four bytes": "\U00010000".encode(),
    "last of one byte": b"\x7f",
    "last of two bytes": "\u07ff".encode(),
    "last of three bytes": "\uffff".encode(),
    "last of four bytes": "\U0010ffff".encode(),
    "before the surrogates": "\ud7ff".encode(),
    "after the surrogates": "\ue000".encode(),
    "the replacement": "\ufffd".encode(),
    "a noncharacter": "\ufdd0".encode(),
    "the last of each plane": "".join(
        chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)
    ).encode(),
    "a mark of byte order": "\ufeff1".encode(),
}
INVALID = {
    "0x80": b"\x80",
    "0xbf": b"\xbf",
    "continuations alone": b"\x80\xbf\x80\xbf\x80\xbf",
    "every continuation": bytes(range(0x80, 0xC0)),
    "starts of two bytes": b" ".join(bytes([each]) for each in range(0xC0, 0xE0)),
    "starts of three bytes": b" ".join(bytes([each]) for each in range(0xE0, 0xF0)),
    "starts of four bytes": b" ".join(bytes([each]) for each in range(0xF0, 0xF8)),
    "starts of five bytes": b"\xf8 \xf9 \xfa \xfb ",
    "starts of six bytes": b"\xfc \xfd ",
    "two bytes without the last": b"\xc3",
    "three bytes without the last": b"\xe2\x82",
    "four bytes without the last": b"\xf0\x9d\x84",
    "four bytes without two": b"\xf0\x9d",
    "several cut off": b"\xc3\xe2\x82\xf0\x9d\x84",
    "0xfe": b"\xfe",
    "0xff": b"\xff",
    "0xfe 0xff": b"\xfe\xfe\xff\xff",
    "a slash in two bytes": b"\xc0\xaf",
    "a slash in three bytes": b"\xe0\x80\xaf",
    "a slash in four bytes": b"\xf0\x80\x80\xaf",
    "a slash in five bytes": b"\xf8\x80\x80\x80\xaf",
    "a slash in six bytes": b"\xfc\x80\x80\x80\x80\xaf",
    "the last overlong of two bytes": b"\xc1\xbf",
    "the last overlong of three bytes": b"\xe0\x9f\xbf",
    "the last overlong of four bytes": b"\xf0\x8f\xbf\xbf",
    "an overlong zero": b"\xc0\x80",
    "a zero in four bytes": b"\xf0\x80\x80\x80",
    "the first surrogate": b"\xed\xa0\x80",
    "the last high surrogate": b"\xed\xaf\xbf",
    "the first low surrogate": b"\xed\xb0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "the last pair": b"\xed\xaf\xbf\xed\xbf\xbf",
    "above Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "greek, then a surrogate, then letters": "κόσμε".encode() + b"\xed\xa0\x80edited",
}


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
def test_utf_8_comes_back_whole_and_in_fragments_of_a_byte(talk, text):
    talk(frame(TEXT, text) + fragments(TEXT, *cut(text, 1)), [(TEXT, text), (TEXT, text)])


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_what_is_not_utf_8_is_closed_with_1007(talk, text):
    talk(frame(TEXT, text), [], 1007)


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_what_is_not_utf_8_is_closed_with_1007_in_fragments_too(talk, text):
    talk(fragments(TEXT, *cut(text, 1)) + frame(TEXT, b"more"), [], 1007)


@pytest.mark.parametrize("at", range(1, 11))
def test_fragments_may_end_within_a_character(talk, at):
    text = "κ𝄞ß€".encode()
    talk(fragments(TEXT, text[:at], text[at:]), [(TEXT, text)])


def test_a_ping_within_a_character_is_answered(talk):
    text = "𝄞".encode()
    sent = frame(TEXT, text[:2], fin=False) + frame(PING, b"\xff") + frame(CONT, text[2:])
    talk(sent, [(PONG, b"\xff"), (TEXT, text)])


def test_binary_messages_may_have_any_bytes(talk):
    for payload in INVALID.values():
        talk(frame(2, payload), [(2, payload)])
