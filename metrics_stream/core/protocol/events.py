"""Server messages as server-sent events (HTML, 9.2): the name is their `type`, the id the position after them.

A client that reconnects sends the last id as `Last-Event-ID`. So a position stands only at the end of what was written
together: whoever was cut in the middle gets all of it again, and has got no part of it as an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import msgspec
from msgspec import UNSET, UnsetType

from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.messages import MetricBatch, MetricUpdate, ServerMessage, message_name
from metrics_stream.core.protocol.parsing import encode_metrics
from metrics_stream.core.protocol.prepared_message import PreparedMessage

# For so many milliseconds a browser waits before it connects again; many that lost one server must not come at once.
RETRY_MILLISECONDS = 2_000

# Codes from here on say that coming back does not help.
_FIRST_FINAL_CODE = 4_500


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of a stream: why the server ends it, and whether it helps to come back."""

    code: CloseCode
    error: ErrorCode
    message: str
    retry: bool


class _Head(msgspec.Struct):
    type: str
    position: str | UnsetType = UNSET


class _Update(msgspec.Struct):
    data: msgspec.Raw
    replayed: bool = False


class _Batch(msgspec.Struct):
    data: list[msgspec.Raw]
    replayed: bool = False


_read_head = msgspec.json.Decoder(_Head).decode
_read_update = msgspec.json.Decoder(_Update).decode
_read_batch = msgspec.json.Decoder(_Batch).decode
_encode = msgspec.json.Encoder().encode
_DATA = frozenset({message_name(MetricUpdate), message_name(MetricBatch)})


def event(name: str, data: bytes, position: str | None = None) -> bytes:
    """Return an event; JSON has no line ends, which would end it."""
    head = b"" if position is None else b"id: %b\n" % position.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (head, name.encode(), data)


def event_of(message: ServerMessage) -> bytes:
    """Return the event of a message; its `position` is the id."""
    position = getattr(message, "position", UNSET)
    return event(message_name(type(message)), _encode(message), None if position is UNSET else position)


def closed_event(code: CloseCode, error: ErrorCode, message: str) -> bytes:
    """Return the last event of a stream."""
    closed = Closed(code=code, error=error, message=message, retry=int(code) < _FIRST_FINAL_CODE)
    return event("closed", _encode(closed))


def heartbeat(position: str | None) -> bytes:
    """Return a comment that keeps the connection open; the position that was reached meanwhile is no event."""
    return b": heartbeat\n\n" if position is None else b": heartbeat\nid: %b\n\n" % position.encode()


def events_of(frames: Sequence[PreparedMessage]) -> bytes:
    """Return the events of frames that are written together; their metrics are one event, with the position."""
    if len(frames) == 1:
        return _event_of_frame(frames[0])
    events: list[bytes] = []
    bodies: list[bytes] = []
    position: str | UnsetType = UNSET
    replayed = False
    for frame in frames:
        head = _read_head(frame.data)
        if head.type not in _DATA:
            events.append(event(head.type, frame.data))
            continue
        if head.type == message_name(MetricBatch):
            batch = _read_batch(frame.data)
            bodies += map(bytes, batch.data)
            replayed = batch.replayed
        else:
            update = _read_update(frame.data)
            bodies.append(bytes(update.data))
            replayed = update.replayed
        position = head.position
    if bodies:
        place = None if position is UNSET else position
        joined = encode_metrics(bodies, position=place, replayed=replayed)
        events.append(event(_read_head(joined).type, joined, place))
    return b"".join(events)


# A frame of a view goes to several clients, one after the other.
_known: WeakKeyDictionary[PreparedMessage, bytes] = WeakKeyDictionary()


def _event_of_frame(frame: PreparedMessage) -> bytes:
    found = _known.get(frame)
    if found is None:
        head = _read_head(frame.data)
        found = _known[frame] = event(head.type, frame.data, None if head.position is UNSET else head.position)
    return found
