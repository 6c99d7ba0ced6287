"""The frames of one WebSocket: the `websockets` library where it is stricter than the RFCs, and shared compression."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.base import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

# What a sender cuts off the end of each compressed message (RFC 7692, 7.2.1).
TAIL = b"\x00\x00\xff\xff"

# How often a compressed message may end its stream (BFINAL) and begin another. Each costs as much time as a kilobyte.
MAX_STREAMS = 16


class SharedDeflate(PerMessageDeflate):
    """permessage-deflate that compresses unshared messages without context, since shared ones come between them.

    This is allowed whatever was negotiated. Shared messages may refer to earlier shared ones if the peer keeps its
    context.
    """

    def __init__(self, agreed: PerMessageDeflate) -> None:
        super().__init__(
            remote_no_context_takeover=agreed.remote_no_context_takeover,
            local_no_context_takeover=True,
            remote_max_window_bits=agreed.remote_max_window_bits,
            local_max_window_bits=agreed.local_max_window_bits,
            compress_settings={"memLevel": 5},
        )
        self.peer_keeps_context = not agreed.local_no_context_takeover
        # The end of what was decompressed, to which a stream after a final block may refer.
        self._window = b""
        self._streams = 0

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Return a frame with its data decompressed; raise PayloadTooBig past `max_size` bytes."""
        if frame.opcode is Opcode.CONT:
            if not self.decode_cont_data:
                return frame
            if frame.rsv1:
                raise ProtocolError("RSV1 bit set in continuation frame")
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY) and frame.rsv1:
            self._begin_message()
        else:
            return frame
        self.decode_cont_data = not frame.fin
        data = self._decompress(bytes(frame.data) + (TAIL if frame.fin else b""), max_size)
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3)

    def _begin_message(self) -> None:
        self._streams = 0
        if self.remote_no_context_takeover:
            self._window = b""
            self.decoder = zlib.decompressobj(wbits=-self.remote_max_window_bits)

    def _decompress(self, data: bytes, max_size: int | None) -> bytes:
        parts: list[bytes] = []
        size = 0
        while data:
            if self.decoder.eof:
                # RFC 7692, 7.2.3.4: a block with BFINAL set ends a stream, not the message, and the window stays.
                self._streams += 1
                if self._streams > MAX_STREAMS:
                    raise ProtocolError("too many final blocks in a message")
                self.decoder = zlib.decompressobj(wbits=-self.remote_max_window_bits, zdict=self._window)
            try:
                # One byte more than allowed; 0 would mean no limit.
                part = self.decoder.decompress(data, 0 if max_size is None else max_size - size + 1)
            except zlib.error as error:
                raise ProtocolError("decompression failed") from error
            size += len(part)
            if max_size is not None and size > max_size:
                raise PayloadTooBig(None, max_size)
            parts.append(part)
            self._window = (self._window + part)[-(1 << self.remote_max_window_bits) :]
            # Some senders end a message with the final block, and not with the empty block after it.
            data = b"" if self.decoder.unused_data == TAIL else self.decoder.unused_data
        return b"".join(parts)


class SharedDeflateFactory(ServerPerMessageDeflateFactory):
    """Negotiates permessage-deflate as usual, and uses SharedDeflate for it."""

    def process_request_params(
        self, params: Sequence[tuple[str, str | None]], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[tuple[str, str | None]], SharedDeflate]:
        """Return the answer to an offer, and the extension."""
        answer, agreed = super().process_request_params(params, accepted_extensions)
        return answer, SharedDeflate(agreed)


class StreamServerProtocol(ServerProtocol):
    """The library's server side, which also accepts a close between the fragments of a message."""

    def __init__(self, *, deflate: bool, max_size: int | None, logger: Any) -> None:
        extensions = [SharedDeflateFactory(client_max_window_bits=12)] if deflate else None
        super().__init__(extensions=extensions, max_size=max_size, logger=logger)

    def recv_frame(self, frame: Frame) -> None:
        """Process a frame; a close ends the message of which only some fragments came (RFC 6455, 5.4)."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)
