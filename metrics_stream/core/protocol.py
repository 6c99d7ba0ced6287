"""The wire protocol, version 1: every message both ways, one door in (`parse`) and one door out (`encode`).

    client → server           reply
    subscribe                 subscription_confirmed
    unsubscribe               subscription_confirmed
    set_filters               filters_updated
    set_update_interval       update_interval_set
    set_batching              batching_set
    ping                      pong
    authenticate              welcome
    replay, seek, pause,      replay_state
    resume, live

    server → client, unasked: authentication_required, welcome, metric_update, metric_batch, backfill, gap, status,
    replay_state, error

Room: core. Past `parse` there are only objects; before `encode` there are only objects.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from metrics_stream.core.canary import BusState
from metrics_stream.core.codes import ErrorCode, GapReason
from metrics_stream.core.metrics import MetricsStreamError

VERSION = 1

INTERVAL_SECONDS = (0.1, 60.0)
BATCH_SIZE = (1, 1000)
BATCH_TIMEOUT_SECONDS = (0.0, 60.0)
BACKFILL_SECONDS = (1.0, 86_400.0)
MAX_POINTS = (10, 2000)
DEFAULT_MAX_POINTS = 300
SPEED = (0.25, 60.0)

# A ref only has to tell one reply from another; a long one would be a cheap way to make the server send much.
MAX_REF_LENGTH = 200
# The whole numbers that JavaScript holds exactly.
MAX_REF_NUMBER = 2**53 - 1
# Longer than any id or field name met in practice; the limit keeps an error message readable.
MAX_TERM_LENGTH = 200

Mode = Literal["all", "latest", "aggregate"]
MODES: tuple[Mode, ...] = get_args(Mode)
PlayState = Literal["playing", "paused", "ended", "live"]
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


class Backfilled(ClientMessage, frozen=True):
    """What messages may carry after which a client wants to see what came before, as columns of at most so many points.

    `resume_from` is a `position`: the metrics after it come first, whole and in order.
    """

    backfill_seconds: float | UnsetType = UNSET
    max_points: int = DEFAULT_MAX_POINTS


class Subscribe(Backfilled, frozen=True, tag="subscribe"):
    """Add metric types to those the client gets; `all` means every one it may see."""

    metric_types: tuple[str, ...] = ("all",)
    resume_from: str | UnsetType = UNSET


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


class Authenticate(ClientMessage, frozen=True, tag="authenticate"):
    """Show a token, for clients that cannot set the header `Authorization`; the first message, if at all."""

    token: str


class Replay(Backfilled, frozen=True, tag="replay"):
    """Show what a test run recorded, or what the history keeps, `from` an instant (ISO 8601), instead of what is live.

    Without `from` a run begins at its start. `speed` is in seconds of the past for each second.
    """

    run: str | UnsetType = UNSET
    from_: str | UnsetType = msgspec.field(name="from", default=UNSET)
    speed: float = 1.0
    paused: bool = False


class Seek(Backfilled, frozen=True, kw_only=True, tag="seek"):
    """Go on with the replay at another instant (ISO 8601)."""

    to: str


class Pause(ClientMessage, frozen=True, tag="pause"):
    """Halt the replay."""


class Resume(ClientMessage, frozen=True, tag="resume"):
    """Go on with the replay, at another speed where one is given."""

    speed: float | UnsetType = UNSET


class Live(Backfilled, frozen=True, tag="live"):
    """End the replay and go on with what is published now."""

    resume_from: str | UnsetType = UNSET


AnyClientMessage = (
    Subscribe
    | Unsubscribe
    | SetFilters
    | SetUpdateInterval
    | SetBatching
    | Ping
    | Authenticate
    | Replay
    | Seek
    | Pause
    | Resume
    | Live
)
CLIENT_MESSAGES: tuple[type[ClientMessage], ...] = (
    Subscribe,
    Unsubscribe,
    SetFilters,
    SetUpdateInterval,
    SetBatching,
    Ping,
    Authenticate,
    Replay,
    Seek,
    Pause,
    Resume,
    Live,
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
    backfill_seconds: tuple[float, float] = BACKFILL_SECONDS
    max_points: tuple[int, int] = MAX_POINTS
    speed: tuple[float, float] = SPEED
    history_seconds: float = 0.0
    """For how long the past is kept; 0: not at all."""


class Welcome(Reply, frozen=True, tag="welcome"):
    """The first message to a client that is taken in; the reply to `authenticate`."""

    client_id: str
    timestamp: str
    message: str
    metric_types: tuple[str, ...]
    subscription: Subscription
    limits: Limits
    protocol: int = VERSION


class AuthenticationRequired(ServerMessage, frozen=True, tag="authentication_required"):
    """The first message to a client that has shown nothing yet: `authenticate` has to come in time."""

    within_seconds: float


class SubscriptionConfirmed(Reply, frozen=True, tag="subscription_confirmed"):
    """The metric types the client gets from now on, and from which `position`.

    `recovered` answers `resume_from`: whether every metric since then comes.
    """

    metric_types: tuple[str, ...]
    position: str | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET


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
    """The server's time, and the position the client has reached."""

    timestamp: str
    position: str | UnsetType = UNSET


class MetricUpdate(ServerMessage, frozen=True, tag="metric_update"):
    """One metric.

    `position` is the place in the history that is reached with it; `replayed` marks what is from the past.
    """

    data: msgspec.Raw
    position: str | UnsetType = UNSET
    replayed: bool | UnsetType = UNSET


class MetricBatch(ServerMessage, frozen=True, tag="metric_batch"):
    """Several metrics, in the order of publishing; the rest as in `metric_update`."""

    count: int
    data: list[msgspec.Raw]
    position: str | UnsetType = UNSET
    replayed: bool | UnsetType = UNSET


class Series(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of one source (and agent) over time: columns with an entry for each bucket that has a value.

    Without `min` and `max` both are `last` in every bucket. `percentile` is what a percentile was in each bucket of a
    test run that sums up several: that of all that was measured, or with `is_worst` the worst that came.
    """

    metric_type: str
    source: str
    field: str
    buckets: list[int]
    last: list[float]
    min: list[float] = []
    max: list[float] = []
    percentile: list[float] = []
    is_worst: bool = False
    agent_id: str | None = None


class Backfill(ServerMessage, frozen=True, kw_only=True, tag="backfill"):
    """A part of what came before: bucket k covers `bucket_seconds` from `from` + k · `bucket_seconds` on."""

    metric_types: tuple[str, ...]
    from_: str = msgspec.field(name="from")
    until: str
    bucket_seconds: float
    series: list[Series]
    done: bool


class ReplayState(Reply, frozen=True, tag="replay_state"):
    """Where a replay stands: at which instant, between which two, how fast."""

    state: PlayState
    run: str | None = None
    at: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    until: str | None = None
    speed: float = 1.0


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
    AuthenticationRequired,
    Welcome,
    SubscriptionConfirmed,
    FiltersUpdated,
    UpdateIntervalSet,
    BatchingSet,
    Pong,
    MetricUpdate,
    MetricBatch,
    Backfill,
    Gap,
    Status,
    ReplayState,
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


def encode_metrics(bodies: list[bytes], *, position: str | None = None, replayed: bool = False) -> bytes:
    """Return the data frame for metrics that are JSON already: an update for one, a batch for more."""
    place = UNSET if position is None else position
    past = True if replayed else UNSET
    if len(bodies) == 1:
        return _encoder.encode(MetricUpdate(data=msgspec.Raw(bodies[0]), position=place, replayed=past))
    raw = [msgspec.Raw(body) for body in bodies]
    return _encoder.encode(MetricBatch(count=len(bodies), data=raw, position=place, replayed=past))


def format_timestamp(seconds: float) -> str:
    """Return an instant, in seconds since the epoch, as ISO 8601 in UTC with microseconds and a `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(name: str, text: str) -> float:
    """Return the instant that `text` says (ISO 8601; without a zone it is UTC), in seconds since 1970.

    Raises ProtocolError, which calls the value `name`.
    """
    try:
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"`{name}` is {quote(text)}; it must be an instant in ISO 8601, such as 2026-01-31T12:00:00Z",
        ) from error


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
        reason = describe_malformed(error, text)
        raise ProtocolError(ErrorCode.NOT_JSON, f"not a JSON document: {reason}; got {quote(text)}") from error
    if not _is_ref(message.ref):
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, f"`ref` is {quote(message.ref)}; it must be {_REF}")
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


_INVALID_BYTE = re.compile(r"invalid character \(byte (\d+)\)")
_NOT_FINITE = re.compile("-?(?:nan|inf)", re.IGNORECASE)


def describe_malformed(error: Exception, document: str | bytes) -> str:
    """Return why `document` is no JSON, with what stands where the fault is."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not (match := _INVALID_BYTE.search(str(error))):
        return str(error)
    content = document.encode(errors="replace") if isinstance(document, str) else document
    rest = content[int(match[1]) :][:100].decode(errors="replace")
    hint = "; JSON has finite numbers only, and null" if _NOT_FINITE.match(rest) else ""
    return f"{error} at {quote(rest, limit=20)}{hint}"


_REF = f"a text of at most {MAX_REF_LENGTH} characters or a whole number within ±{MAX_REF_NUMBER}"
_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "int | str | null": _REF,
    "int | str": _REF,
}
_BOUNDS = {item.name: item.default for item in msgspec.structs.fields(Limits) if isinstance(item.default, tuple)}
_EXPECTED = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_KNOWN = {message_name(message): message for message in CLIENT_MESSAGES}


def _explain(text: str, reason: str) -> ProtocolError:
    """Turn msgspec's reason into words of this protocol: where, which value, what is allowed."""
    reason, _, path = reason.partition(" - at `")
    path = path.rstrip("`")
    try:
        document = _as_sent(text)
    except (ValueError, RecursionError):  # sound up to the fault, unreadable behind it
        return ProtocolError(ErrorCode.INVALID_MESSAGE, _explain_unreadable(reason, path))
    sent = document if isinstance(document, dict) else {}
    ref = sent.get("ref", UNSET)
    if not _is_ref(ref):
        ref = UNSET
    if path == "$.type":
        allowed = ", ".join(_KNOWN)
        wrong = quote(sent.get("type"))
        return ProtocolError(ErrorCode.UNKNOWN_MESSAGE_TYPE, f"unknown message type {wrong}; allowed: {allowed}", ref)
    if match := _MISSING_KEY.match(reason):
        return ProtocolError(ErrorCode.INVALID_MESSAGE, f"the key `{match[1]}` is missing in {quote(text)}", ref)
    if match := _UNKNOWN_KEY.match(reason):
        # Only a type that came twice may be no text here.
        owner = Filters if path == "$.filters" else _KNOWN.get(str(sent.get("type")), ClientMessage)
        return ProtocolError(ErrorCode.INVALID_MESSAGE, f"unknown key {quote(match[1])}; {_keys_of(owner)}", ref)
    # Of a number that is too large for anything msgspec does not say what it expects there.
    expected = match[1] if (match := _EXPECTED.match(reason)) else _expected_at(path, sent)
    must = _must(path, expected)
    value = quote(_follow(document, path))
    return ProtocolError(ErrorCode.INVALID_MESSAGE, f"`{_name(path)}` is {value}; {must}", ref)


def _explain_unreadable(reason: str, path: str) -> str:
    """Say as much as msgspec knows of a document that cannot be read to its end: not its type, and no value."""
    if match := _UNKNOWN_KEY.match(reason):
        allowed = _keys_of(Filters) if path == "$.filters" else "allowed are those of its `type`"
        return f"unknown key {quote(match[1])}; {allowed}"
    if match := _EXPECTED.match(reason):
        value = _WORDS.get(match[2], match[2]) if match[2] else "something else"
        return f"`{_name(path)}` is {value}; {_must(path, match[1])}"
    return f"`{_name(path)}` is wrong: {reason}"


def _name(path: str) -> str:
    return path.removeprefix("$").removeprefix(".") or "message"


def _keys_of(owner: type[msgspec.Struct]) -> str:
    return "allowed: " + ", ".join((*(() if owner is Filters else ("type",)), *owner.__struct_encode_fields__))


def _must(path: str, expected: str) -> str:
    """Say what is allowed at `path`, where msgspec expects a value of the type `expected`."""
    if path == "$.mode":
        return f"allowed: {', '.join(MODES)}"
    words = _WORDS.get(expected, expected)
    if bounds := _BOUNDS.get(path.removeprefix("$.")):
        words += f" from {bounds[0]:g} to {bounds[1]:g}"
    return f"it must be {words}"


def _as_sent(text: str) -> Any:
    """Return the document in `text` with its numbers as they are written, those included that no computer holds.

    Raises ValueError, or RecursionError, for what is no JSON.
    """
    document = json.loads(text, parse_int=_whole_number, parse_float=_written, parse_constant=_written)
    # Half a surrogate pair is JSON to Python alone; no error could name it.
    msgspec.json.encode(document)
    return document


def _written(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _whole_number(text: str) -> int | msgspec.Raw:
    # As many digits as fit 64 bits in any case.
    return int(text) if len(text) < 19 else _written(text)


def _expected_at(path: str, sent: dict[str, Any]) -> str:
    """Return what msgspec expects at `path`, as it says of null there."""
    probe: Any = None
    for key, index in reversed(_STEP.findall(path)):
        probe = [probe] if index else {key: probe}
    if isinstance(probe, dict):
        probe["type"] = sent.get("type")
    try:
        msgspec.convert(probe, AnyClientMessage)
    except msgspec.ValidationError as error:
        if match := _EXPECTED.match(str(error)):
            return match[1]
    return "another value"


def _follow(document: Any, path: str) -> Any:
    try:
        for key, index in _STEP.findall(path):
            document = document[int(index)] if index else document[key]
    except (KeyError, IndexError, TypeError):  # a repeated key: the last one won here, another one was wrong
        return "…"
    return document
