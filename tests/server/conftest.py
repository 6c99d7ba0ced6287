"""The echo server of the wire cases, started once."""

from collections.abc import Iterator

import pytest

from tests.support.wire import CLOSE, Wire, closing, echo_server, frame


@pytest.fixture(scope="package")
def echo_port() -> Iterator[int]:
    with echo_server() as port:
        yield port


class Talk:
    """What a client sends and hears in one case; then it ends the connection in order, unless the server does."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, sent: bytes, heard: list[tuple[int, bytes]], code: int | None = None, *, size: int = 0) -> None:
        """Send bytes, `size` at once (0: all), and expect frames; then a close with `code`, or an answer to our own."""
        wire = Wire(self._port)
        try:
            for start in range(0, len(sent), size or len(sent) or 1):
                wire.send(sent[start : start + size] if size else sent)
            assert [wire.hear()[:2] for _ in heard] == heard
            if code is None:
                wire.send(frame(CLOSE, closing(1000)))
                assert wire.hear()[:2] == (CLOSE, closing(1000))
            else:
                opcode, payload, _ = wire.hear()
                assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, code)
            assert wire.ends()
        finally:
            wire.leave()


@pytest.fixture
def talk(echo_port: int) -> Talk:
    return Talk(echo_port)
