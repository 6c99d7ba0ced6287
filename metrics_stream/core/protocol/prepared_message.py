"""One text message for many sockets: encoded once, framed once, compressed once per window size.

Servers usually compress a message once per connection, which costs ten times as much as all other work. A message that
is compressed once can still refer to earlier messages (RFC 7692, 7.1.1), for receivers that got all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

EXTENSION = "metrics_stream.shared_text"
"""The ASGI extension of servers that accept prepared messages: a dict of callables in `scope["extensions"]`.

`write(messages)` writes a sequence of PreparedMessage, or returns False and writes none if the socket is busy.
`drained()` is awaited until the socket accepts messages again or is closed.
`backlog()` returns the number of bytes written that the peer's machine has not acknowledged yet.
"""

# Below this size, deflate saves less than the work is worth; an uncompressed message is always allowed.
MIN_COMPRESSED_BYTES = 128

# A frame mostly repeats the keys of earlier frames. With so many bytes of them to refer to, a frame of a single metric
# shrinks to a fifth instead of a half. More would help little, and must be searched for every frame.
CONTEXT_BYTES = 8_192


# Levels of zlib. Compared with 6, its default, level 2 takes a third of the time for a tenth more bytes: the right
# choice if each of a thousand clients gets its own frames.
LEVEL_FOR_MANY = 6
LEVEL_FOR_FEW = 2


@dataclass(frozen=True, slots=True, eq=False)
class CompressionContext:
    """The end of a sequence of messages; the object's identity marks a place in that sequence."""

    tail: bytes


class PreparedMessage:
    """A text message as JSON bytes, and its forms on the wire, each built when the first socket needs it.

    `before` and `after` are the contexts of the message sequence before and after this message. A receiver that got the
    whole sequence, and nothing else compressed in between, can inflate a form that refers to it.
    """

    def __init__(self, data: bytes, before: CompressionContext | None = None, *, is_for_many: bool = False) -> None:
        """With `is_for_many` the message is compressed at a higher level."""
        self.data = data
        self._level = LEVEL_FOR_MANY if is_for_many else LEVEL_FOR_FEW
        self.before = before
        self.is_compressed = len(data) >= MIN_COMPRESSED_BYTES
        """Whether it is worth compressing; otherwise the context does not change."""
        self._wire: dict[tuple[int | None, bool], bytes] = {}

    @cached_property
    def after(self) -> CompressionContext | None:
        """The context after this message."""
        if not self.is_compressed:
            return self.before
        tail = self.data[-CONTEXT_BYTES:]
        if self.before is not None and len(tail) < CONTEXT_BYTES:
            tail = (self.before.tail + tail)[-CONTEXT_BYTES:]
        return CompressionContext(tail)

    @cached_property
    def text(self) -> str:
        """The message as text, for servers that build the frame themselves."""
        return self.data.decode()

    def wire(self, window_bits: int | None, *, in_context: bool = False) -> bytes:
        """Return the WebSocket frame from a server; with `window_bits`, compressed for permessage-deflate.

        Any receiver can inflate it, because it refers to no earlier message. With `in_context` it refers to `before`.
        """
        form = (window_bits, in_context) if window_bits is not None and self.is_compressed else (None, False)
        wire = self._wire.get(form)
        if wire is None:
            extensions = []
            if form[0] is not None:
                zdict = self.before.tail if in_context and self.before is not None else None
                extensions = [_deflate(self._level, form[0], zdict)]
            wire = self._wire[form] = Frame(Opcode.TEXT, self.data).serialize(mask=False, extensions=extensions)
        return wire


def _deflate(level: int, window_bits: int, zdict: bytes | None) -> PerMessageDeflate:
    # On metrics a fifth faster than zlib's default of 8 and no larger, because less memory has to be cleared.
    settings: dict[str, Any] = {"level": level, "memLevel": 5}
    if zdict is not None:
        # Raw deflate refers to a dictionary in the same way as to earlier messages.
        settings["zdict"] = zdict
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=window_bits,
        compress_settings=settings,
    )
