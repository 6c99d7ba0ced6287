"""One text message for many sockets: encoded once, framed once, compressed once per window size.

Room: core. Servers compress every message once per connection, which costs ten times what everything else does.
Compressed once, a message can still refer to earlier ones (RFC 7692, 7.1.1), for receivers that got all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

EXTENSION = "metrics_stream.shared_text"
"""The ASGI extension of servers that take shared messages, a dict of callables in `scope["extensions"]`.

`write(messages)` takes a sequence of SharedText, all or nothing, and returns False when the socket takes none now.
`drained()` is awaited before it takes some again, or is closed.
`backlog()` returns how many bytes were written that the peer's machine has not acknowledged yet.
"""

# Below this, deflate saves less than the work is worth; an uncompressed message is always legal.
MIN_COMPRESSED_BYTES = 128

# A frame mostly repeats the keys of those before it: with so much of them to refer to, a frame of a single metric
# shrinks to a fifth instead of to a half. More would help little, and has to be searched for every frame.
CONTEXT_BYTES = 8_192


# zlib's levels. Against 6, its default, 2 takes a third of the time for a tenth more bytes: right where each of a
# thousand clients gets frames of its own.
LEVEL_FOR_MANY = 6
LEVEL_FOR_FEW = 2


@dataclass(frozen=True, slots=True, eq=False)
class CompressionContext:
    """What was said last in a row of messages; itself the mark by which two places in that row are the same."""

    tail: bytes


class PreparedMessage:
    """A text message as JSON bytes, and its forms on the wire, each built when the first socket needs it.

    `before` is where the row of messages stands to which this one belongs, `after` where it stands then. A receiver
    that has got the row, and nothing compressed between, can inflate a form that refers to it.
    """

    def __init__(self, data: bytes, before: CompressionContext | None = None, *, is_for_many: bool = False) -> None:
        """`is_for_many` makes it worth the time to compress it well."""
        self.data = data
        self._level = LEVEL_FOR_MANY if is_for_many else LEVEL_FOR_FEW
        self.before = before
        self.is_compressed = len(data) >= MIN_COMPRESSED_BYTES
        """Whether it is worth compressing; what is not leaves the row as it is."""
        self._wire: dict[tuple[int | None, bool], bytes] = {}

    @cached_property
    def after(self) -> CompressionContext | None:
        """Where the row stands after this message."""
        if not self.is_compressed:
            return self.before
        tail = self.data[-CONTEXT_BYTES:]
        if self.before is not None and len(tail) < CONTEXT_BYTES:
            tail = (self.before.tail + tail)[-CONTEXT_BYTES:]
        return CompressionContext(tail)

    @cached_property
    def text(self) -> str:
        """The message for servers that frame it themselves."""
        return self.data.decode()

    def wire(self, window_bits: int | None, *, in_context: bool = False) -> bytes:
        """Return the WebSocket frame from a server; with `window_bits`, compressed for permessage-deflate.

        Any receiver can inflate it, as it refers to no earlier message; `in_context` it refers to the row `before`.
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
    # Against zlib's default of 8 a fifth faster on metrics, and no larger: less memory has to be cleared.
    settings: dict[str, Any] = {"level": level, "memLevel": 5}
    if zdict is not None:
        # Raw deflate refers back into a dictionary as it does into earlier messages.
        settings["zdict"] = zdict
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=window_bits,
        compress_settings=settings,
    )
