"""The wire protocol, version 1: every message both ways, one door in (`parse`) and one door out (`encode`).

    client → server           reply
    subscribe                 subscription_confirmed
    unsubscribe               subscription_confirmed
    set_filters               filters_updated
    set_update_interval       update_interval_set
    set_batching              batching_set
    ping                      pong

    server → client, unasked: welcome, metric_update, metric_batch, gap, status, error

Room: core. Past `parse` there are only objects; before `encode` there are only objects.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from metrics_stream.core.canary import BusState
from metrics_stream.core.codes import ErrorCode, GapReason
from metrics_stream.core.metrics import MetricsStreamError

VERSION = 1

INTERVAL_SECONDS = (0.1, 60.0)
BATCH_SIZE = (1, 1000)
BATCH_TIMEOUT_SECONDS = (0.0, 60.0)

# A ref only has to tell one reply from another; a long one would be a cheap way to make the server send much.
MAX_REF_LENGTH = 200
# The whole numbers that JavaScript holds exactly.
MAX_REF_NUMBER = 2**53 - 1
# Longer than any id or field name met in practice; the limit keeps an error message readable.
MAX_TERM_LENGTH = 200

Mode = Literal["all", "latest"]
Ref = str | int | UnsetType


class ProtocolError(MetricsStreamError):
    """A client's message cannot be taken; raised by `parse` and by selections, answered by the consumer."""

    def __init__(self, code: ErrorCode, message: str, ref: Ref = UNSET) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.ref = ref


# --- client → server ---


class ClientMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What every message of a client may carry."""

    ref: Ref = UNSET


class Subscribe(ClientMessage, frozen=True, tag="subscribe"):
    """Add metric types to those the client gets; `all` means every one it may see."""

    metric_types: tuple[str, ...] = ("all",)


class Unsubscribe(ClientMessage, frozen=True, tag="unsubscribe"):
    """Take metric types away; `all` leaves none."""

    metric_types: tuple[str, ...]


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What narrows a selection; an empty list is no filter."""

    agent_ids: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class SetFilters(ClientMessage, frozen=True, tag="set_filters"):
    """Replace the filters in force."""

    filters: Filters


class SetUpdateInterval(ClientMessage, frozen=True, tag="set_update_interval"):
    """Set the least time between two data frames, in seconds."""

    interval_seconds: float


class SetBatching(ClientMessage, frozen=True, tag="set_batching"):
    """Set what is given of batch size, batch timeout in seconds, and mode."""

    batch_size: int | UnsetType = UNSET
    batch_timeout_seconds: float | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET


class Ping(ClientMessage, frozen=True, tag="ping"):
    """Ask whether the server is there, and what time it has."""


AnyClientMessage = Subscribe | Unsubscribe | SetFilters | SetUpdateInterval | SetBatching | Ping
CLIENT_MESSAGES: tuple[type[ClientMessage], ...] = (
    Subscribe,
    Unsubscribe,
    SetFilters,
    SetUpdateInterval,
    SetBatching,
    Ping,
)


# --- server → client ---


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of what the server sends."""


class Reply(ServerMessage, frozen=True, kw_only=True):
    """Base of what answers a message and repeats its `ref`."""

    ref: Ref = UNSET


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Selection and delivery in force for one client."""

    metric_types: tuple[str, ...]
    filters: Filters
    interval_seconds: float
    batch_size: int
    batch_timeout_seconds: float
    mode: Mode
    preset: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may send, so that it need not find out by being refused."""

    message_bytes: int
    messages_per_second: float
    message_burst: int
    errors_per_minute: int
    filter_terms: int
    interval_seconds: tuple[float, float] = INTERVAL_SECONDS
    batch_size: tuple[int, int] = BATCH_SIZE
    batch_timeout_seconds: tuple[float, float] = BATCH_TIMEOUT_SECONDS


class Welcome(ServerMessage, frozen=True, tag="welcome"):
    """The first message to a client that is taken in."""

    client_id: str
    timestamp: str
    message: str
    metric_types: tuple[str, ...]
    subscription: Subscription
    limits: Limits
    protocol: int = VERSION


class SubscriptionConfirmed(Reply, frozen=True, tag="subscription_confirmed"):
    """The metric types the client gets from now on."""

    metric_types: tuple[str, ...]


class FiltersUpdated(Reply, frozen=True, tag="filters_updated"):
    """The filters in force."""

    filters: Filters


class UpdateIntervalSet(Reply, frozen=True, tag="update_interval_set"):
    """The interval in force, after clamping."""

    interval_seconds: float


class BatchingSet(Reply, frozen=True, tag="batching_set"):
    """The batching in force, after clamping."""

    batch_size: int
    batch_timeout_seconds: float
    mode: Mode


class Pong(Reply, frozen=True, tag="pong"):
    """The server's time."""

    timestamp: str


class MetricUpdate(ServerMessage, frozen=True, tag="metric_update"):
    """One metric."""

    data: msgspec.Raw


class MetricBatch(ServerMessage, frozen=True, tag="metric_batch"):
    """Several metrics, in the order of publishing."""

    count: int
    data: list[msgspec.Raw]


class Gap(ServerMessage, frozen=True, tag="gap"):
    """Something is missing before the next data frame; `dropped` is null where the number cannot be known."""

    reason: GapReason
    dropped: int | None
    metric_types: tuple[str, ...]


class Status(ServerMessage, frozen=True, tag="status"):
    """The channel layer went silent (`stale`) or carries again (`live`); sent when that changes."""

    bus: BusState


class Error(Reply, frozen=True, tag="error"):
    """What was wrong, and what is allowed."""

    code: ErrorCode
    message: str


SERVER_MESSAGES: tuple[type[ServerMessage], ...] = (
    Welcome,
    SubscriptionConfirmed,
    FiltersUpdated,
    UpdateIntervalSet,
    BatchingSet,
    Pong,
    MetricUpdate,
    MetricBatch,
    Gap,
    Status,
    Error,
)

_decoder = msgspec.json.Decoder(AnyClientMessage)
_encoder = msgspec.json.Encoder()


def message_name(message: type[msgspec.Struct]) -> str:
    """Return the value of `type` by which `message` is known on the wire."""
    return str(message.__struct_config__.tag)


def encode(message: ServerMessage) -> str:
    """Return the text frame of `message`."""
    return _encoder.encode(message).decode()


def encode_metrics(bodies: list[bytes]) -> bytes:
    """Return the data frame for metrics that are JSON already: an update for one, a batch for more."""
    if len(bodies) == 1:
        return _encoder.encode(MetricUpdate(data=msgspec.Raw(bodies[0])))
    return _encoder.encode(MetricBatch(count=len(bodies), data=[msgspec.Raw(body) for body in bodies]))


def format_timestamp(seconds: float) -> str:
    """Return an instant, in seconds since the epoch, as ISO 8601 in UTC with microseconds and a `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def clamp(value: float, bounds: tuple[float, float]) -> float:
    """Return `value` moved into `bounds`."""
    return min(max(value, bounds[0]), bounds[1])


def parse(text: str) -> AnyClientMessage:
    """Return the message in `text`, or raise ProtocolError naming the value that was wrong and what is allowed."""
    try:
        message: AnyClientMessage = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _explain(text, str(error)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ProtocolError(ErrorCode.NOT_JSON, f"not a JSON document: {reason}; got {quote(text)}") from error
    if not _is_ref(message.ref):
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"`ref` is {quote(message.ref)}; it must be a text of at most {MAX_REF_LENGTH} characters or a whole "
            f"number within ±{MAX_REF_NUMBER}",
        )
    return message


def _is_ref(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_REF_LENGTH
    return value is UNSET or (type(value) is int and abs(value) <= MAX_REF_NUMBER)


def quote(value: Any, *, limit: int = 60) -> str:
    """Return `value` for an error message: as JSON, shortened."""
    if not isinstance(value, str):
        try:
            text = msgspec.json.encode(value).decode()
        except OverflowError:  # an integer beyond 64 bits
            text = str(value)
        return text if len(text) <= limit else text[:limit] + "…"
    return repr(value if len(value) <= limit else value[:limit] + "…")


_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "array": "a list",
    "object": "an object",
    "int | str | null": "a text or a whole number",
    "int | str": "a text or a whole number",
}
_EXPECTED = re.compile(r"Expected `([^`]+)`")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def _explain(text: str, reason: str) -> ProtocolError:
    """Turn msgspec's reason into words of this protocol: where, which value, what is allowed."""
    reason, _, path = reason.partition(" - at `")
    path = path.rstrip("`")
    name = path.removeprefix("$").removeprefix(".") or "message"
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):  # sound up to the fault, unreadable behind it
        return ProtocolError(ErrorCode.INVALID_MESSAGE, f"`{name}` is wrong: {reason}")
    ref = document.get("ref", UNSET) if isinstance(document, dict) else UNSET
    if not _is_ref(ref):
        ref = UNSET
    known = {message_name(message): message for message in CLIENT_MESSAGES}
    if path == "$.type":
        allowed = ", ".join(known)
        wrong = quote(document.get("type"))
        return ProtocolError(ErrorCode.UNKNOWN_MESSAGE_TYPE, f"unknown message type {wrong}; allowed: {allowed}", ref)
    if match := _MISSING_KEY.match(reason):
        return ProtocolError(ErrorCode.INVALID_MESSAGE, f"the key `{match[1]}` is missing in {quote(text)}", ref)
    if match := _UNKNOWN_KEY.match(reason):
        owner = Filters if path == "$.filters" else known.get(document["type"], ClientMessage)
        keys = ", ".join((*(() if owner is Filters else ("type",)), *owner.__struct_fields__))
        return ProtocolError(ErrorCode.INVALID_MESSAGE, f"unknown key {quote(match[1])}; allowed: {keys}", ref)
    value = quote(_follow(document, path))
    if match := _EXPECTED.match(reason):
        must = f"it must be {_WORDS.get(match[1], match[1])}"
    elif path == "$.mode":
        must = "allowed: all, latest"
    else:
        must = reason.lower()
    return ProtocolError(ErrorCode.INVALID_MESSAGE, f"`{name}` is {value}; {must}", ref)


def _follow(document: Any, path: str) -> Any:
    try:
        for key, index in _STEP.findall(path):
            document = document[int(index)] if index else document[key]
    except (KeyError, IndexError, TypeError):  # a repeated key: the last one won here, another one was wrong
        return "…"
    return document
