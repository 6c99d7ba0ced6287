"""One text message for many sockets: encoded once, framed once, compressed once per window size.

Room: core. Servers compress every message once per connection, which costs ten times what everything else does.
"""

from __future__ import annotations

from functools import cached_property

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

EXTENSION = "metrics_stream.shared_text"
"""The ASGI extension of servers that take shared messages: `{"write": callable}` in `scope["extensions"]`.

The callable takes a SharedText, and returns False when the socket takes none now; then `send` is to be awaited.
"""

# Below this, deflate saves less than the work is worth; an uncompressed message is always legal.
MIN_COMPRESSED_BYTES = 128


class SharedText:
    """A text message as JSON bytes, and its forms on the wire, each built when the first socket needs it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._wire: dict[int | None, bytes] = {}

    @cached_property
    def text(self) -> str:
        """The message for servers that frame it themselves."""
        return self.data.decode()

    def wire(self, window_bits: int | None) -> bytes:
        """Return the WebSocket frame from a server; with `window_bits`, compressed for permessage-deflate.

        The compression uses no context: it refers to no earlier message, so any receiver can inflate it, as long as
        the connection's own messages use none either (`server_no_context_takeover`).
        """
        if len(self.data) < MIN_COMPRESSED_BYTES:
            window_bits = None
        wire = self._wire.get(window_bits)
        if wire is None:
            extensions = [] if window_bits is None else [_without_context(window_bits)]
            wire = self._wire[window_bits] = Frame(Opcode.TEXT, self.data).serialize(mask=False, extensions=extensions)
        return wire


def _without_context(window_bits: int) -> PerMessageDeflate:
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=window_bits,
    )
