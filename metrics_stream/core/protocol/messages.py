"""The messages of the wire protocol, version 1, both ways, and the bounds of what may be in them.

    client → server           reply
    subscribe                 subscription_confirmed
    unsubscribe               subscription_confirmed
    set_filters               filters_updated
    set_update_interval       update_interval_set
    set_batching              batching_set
    get_latest                latest
    ping                      pong
    authenticate              welcome
    replay, seek, pause,      replay_state
    resume, live

    server → client, unasked: authentication_required, welcome, metric_update, metric_batch, backfill, gap, status,
    replay_state, error

Room: core. How text becomes a message and a message text is in `protocol`.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from metrics_stream.core.canary import BusState
from metrics_stream.core.protocol.codes import ErrorCode, GapReason

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
Mode = Literal["all", "latest", "aggregate"]
MODES: tuple[Mode, ...] = get_args(Mode)
PlayState = Literal["playing", "paused", "ended", "live"]
Ref = str | int | UnsetType


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


class GetLatest(ClientMessage, frozen=True, tag="get_latest"):
    """Ask once for the newest metric of each metric type, source and set of agents, without subscribing."""

    metric_types: tuple[str, ...] = ("all",)


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
    | GetLatest
    | Ping
    | Authenticate
    | Replay
    | Seek
    | Pause
    | Resume
    | Live
)
CLIENT_MESSAGES: tuple[type[ClientMessage], ...] = get_args(AnyClientMessage)


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


class Latest(Reply, frozen=True, tag="latest"):
    """A part of the newest metrics of these types, oldest first; the last part has `done`."""

    metric_types: tuple[str, ...]
    count: int
    data: list[msgspec.Raw]
    done: bool


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


def _leaves(base: type[ServerMessage]) -> tuple[type[ServerMessage], ...]:
    """Return the classes below `base` that no other class derives from."""
    return tuple(leaf for each in base.__subclasses__() for leaf in _leaves(each)) or (base,)


SERVER_MESSAGES = _leaves(ServerMessage)


def message_name(message: type[msgspec.Struct]) -> str:
    """Return the value of `type` by which `message` is known on the wire."""
    return str(message.__struct_config__.tag)


def client_message_keys() -> dict[str, list[str]]:
    """Return the keys that each client message may have beside `type` and `ref`, by its name on the wire."""
    return {
        message_name(message): [key for key in message.__struct_encode_fields__ if key != "ref"]
        for message in CLIENT_MESSAGES
    }


def clamp(value: float, bounds: tuple[float, float]) -> float:
    """Return `value` moved into `bounds`."""
    return min(max(value, bounds[0]), bounds[1])
