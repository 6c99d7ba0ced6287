"""The messages of the wire protocol, version 1, in both directions.

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
    source_conflicts, catalogue_changed, subscription_changed, replay_state, ignored, error

`parsing` turns text into messages and messages into text.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from metrics_stream.core.canary import BusState
from metrics_stream.core.metrics.keys import Terms
from metrics_stream.core.protocol.bounds import (
    DEFAULT_INTERVAL_SECONDS,
    DEFAULT_MAX_POINTS,
)
from metrics_stream.core.protocol.codes import ErrorCode, GapReason
from metrics_stream.core.protocol.message_parts import Limits, Series, SourceConflict

VERSION = 1

# A ref only distinguishes replies; a long one would be a cheap way to make the server send much.
MAX_REF_LENGTH = 200
# The largest integer that JavaScript holds exactly.
MAX_REF_NUMBER = 2**53 - 1
Mode = Literal["all", "latest", "aggregate"]
MODES: tuple[Mode, ...] = get_args(Mode)
PlayState = Literal["playing", "paused", "ended", "live"]
Ref = str | int | UnsetType
# A float alone would be too coarse for nanoseconds.
Instant = str | int | float


# --- client → server ---


class ClientMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """Base of all messages from clients; each can have a `ref`, which the reply repeats."""

    ref: Ref = UNSET


class Backfilled(ClientMessage, frozen=True):
    """Base of messages that can ask for the past: series over `backfill_seconds`, of at most `max_points` points.

    `resume_from`, where a message has it, is a `position`: the metrics after it come first, complete and in order.
    """

    backfill_seconds: float | UnsetType = UNSET
    max_points: int = DEFAULT_MAX_POINTS


class Subscribe(Backfilled, frozen=True, tag="subscribe"):
    """Subscribe to metric types, in addition to earlier ones; `all` means every type that the client may see."""

    metric_types: tuple[str, ...] = ("all",)
    resume_from: str | UnsetType = UNSET


class Unsubscribe(ClientMessage, frozen=True, tag="unsubscribe"):
    """Unsubscribe from metric types; `all` removes every type, including those outside `all`."""

    metric_types: tuple[str, ...] = ("all",)


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The filters of a client; an empty list does not filter.

    `keys` are patterns by part of the key of rows; those of `agent_id` stand in `agent_ids`.
    """

    agent_ids: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    keys: dict[str, tuple[str, ...]] = {}

    def __hash__(self) -> int:
        return hash((self.agent_ids, self.fields, self.sources, frozenset(self.keys.items())))

    @property
    def terms(self) -> frozenset[Terms]:
        """The terms on parts of keys, without those on the ids of agents."""
        return frozenset(Terms(part, frozenset(patterns)) for part, patterns in self.keys.items() if patterns)


class SetFilters(ClientMessage, frozen=True, tag="set_filters"):
    """Replace the filters in force."""

    filters: Filters = Filters()


class SetUpdateInterval(ClientMessage, frozen=True, tag="set_update_interval"):
    """Set the shortest time between two data frames, in seconds."""

    interval_seconds: float = DEFAULT_INTERVAL_SECONDS


class SetBatching(ClientMessage, frozen=True, tag="set_batching"):
    """Set batch size, batch timeout in seconds, or mode; a missing one stays as it is."""

    batch_size: int | UnsetType = UNSET
    batch_timeout_seconds: float | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET


class GetLatest(ClientMessage, frozen=True, tag="get_latest"):
    """Ask once for the newest metric of each metric type, source and set of agents, without subscribing."""

    metric_types: tuple[str, ...] = ("all",)


class Ping(ClientMessage, frozen=True, tag="ping"):
    """Ask for a sign of life and the server's time."""


class Authenticate(ClientMessage, frozen=True, tag="authenticate"):
    """Send a token, for clients that cannot set the header `Authorization`; must be the first message."""

    token: str


class Replay(Backfilled, frozen=True, tag="replay"):
    """Replay a recorded test run, or the history, `from` an instant (ISO 8601, or a number), instead of live metrics.

    Without `from` a run is replayed from its start. `speed` is in recorded seconds per second.
    """

    run: str | UnsetType = UNSET
    from_: Instant | UnsetType = msgspec.field(name="from", default=UNSET)
    speed: float = 1.0
    paused: bool = False


class Seek(Backfilled, frozen=True, kw_only=True, tag="seek"):
    """Continue the replay at another instant (ISO 8601, or seconds or milliseconds since 1970)."""

    to: Instant


class Pause(ClientMessage, frozen=True, tag="pause"):
    """Pause the replay."""


class Resume(ClientMessage, frozen=True, tag="resume"):
    """Continue the replay, at another speed if one is given."""

    speed: float | UnsetType = UNSET


class Live(Backfilled, frozen=True, tag="live"):
    """End the replay and continue with live metrics."""

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
    """Base of all messages from the server."""


class Reply(ServerMessage, frozen=True, kw_only=True):
    """Base of replies, which repeat the `ref` of the message that they answer."""

    ref: Ref = UNSET


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """The selection and delivery that are in force for one client."""

    metric_types: tuple[str, ...]
    filters: Filters
    interval_seconds: float
    batch_size: int
    batch_timeout_seconds: float
    mode: Mode
    preset: str | None = None


class Welcome(Reply, frozen=True, tag="welcome"):
    """The first message to a client that is accepted; also the reply to `authenticate`."""

    client_id: str
    timestamp: str
    message: str
    metric_types: tuple[str, ...]
    subscription: Subscription
    limits: Limits
    protocol: int = VERSION


class AuthenticationRequired(ServerMessage, frozen=True, tag="authentication_required"):
    """The first message to a client without a credential, which must send `authenticate` in time."""

    within_seconds: float


class SubscriptionConfirmed(Reply, frozen=True, tag="subscription_confirmed"):
    """The metric types that the client gets from now on, starting at `position`.

    `recovered` answers `resume_from`: whether every metric since that position will come.
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
    """The server's time, and the position that the client has reached."""

    timestamp: str
    position: str | UnsetType = UNSET


class MetricUpdate(ServerMessage, frozen=True, tag="metric_update"):
    """One metric.

    `position` is the client's position in the history after this metric; `replayed` marks metrics from the past.
    """

    data: msgspec.Raw
    position: str | UnsetType = UNSET
    replayed: bool | UnsetType = UNSET


class MetricBatch(ServerMessage, frozen=True, tag="metric_batch"):
    """Several metrics, in the order of publishing; the other keys are as in `metric_update`."""

    count: int
    data: list[msgspec.Raw]
    position: str | UnsetType = UNSET
    replayed: bool | UnsetType = UNSET


class Backfill(ServerMessage, frozen=True, kw_only=True, tag="backfill"):
    """A part of the past as series: bucket k begins at `from` + k · `bucket_seconds`.

    The last part has the metric types of which series are missing because there are too many in `left_out`.
    """

    metric_types: tuple[str, ...]
    from_: str = msgspec.field(name="from")
    until: str
    bucket_seconds: float
    series: list[Series]
    done: bool
    left_out: tuple[str, ...] | UnsetType = UNSET


class ReplayState(Reply, frozen=True, tag="replay_state"):
    """The state of a replay: its instant, its bounds in time, its speed."""

    state: PlayState
    run: str | None = None
    at: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    until: str | None = None
    speed: float = 1.0


class Gap(ServerMessage, frozen=True, tag="gap"):
    """Metrics are missing before the next data frame; `dropped` is null if their number is unknown."""

    reason: GapReason
    dropped: int | None
    metric_types: tuple[str, ...]


class Status(ServerMessage, frozen=True, tag="status"):
    """The channel layer has become silent (`stale`) or delivers again (`live`); sent when that changes."""

    bus: BusState


class SourceConflicts(ServerMessage, frozen=True, tag="source_conflicts"):
    """The sources of which several producers publish at a time; sent when that changes, empty when it is over."""

    conflicts: tuple[SourceConflict, ...]


class CatalogueChanged(ServerMessage, frozen=True, tag="catalogue_changed"):
    """Metric types came, changed or went: all that the client may ask for now, and a description of the changed.

    Each of `changed` has `slug`, `label` and `fields`, with label, unit, kind and good direction of each field.
    """

    metric_types: tuple[str, ...]
    changed: list[dict[str, Any]]


class SubscriptionChanged(ServerMessage, frozen=True, tag="subscription_changed"):
    """The preset of the client was changed: the selection and delivery in force now, and those that the preset gives.

    What the client has set itself stays in force.
    """

    subscription: Subscription
    granted: Subscription


class Ignored(ServerMessage, frozen=True, tag="ignored"):
    """What was not used of a message that was answered, and what is allowed; it comes after the reply."""

    message: str
    ref: Ref = UNSET


class Error(Reply, frozen=True, tag="error"):
    """What was wrong, and what is allowed."""

    code: ErrorCode
    message: str


def _leaves(base: type[ServerMessage]) -> tuple[type[ServerMessage], ...]:
    """Return the classes below `base` that no other class derives from."""
    return tuple(leaf for each in base.__subclasses__() for leaf in _leaves(each)) or (base,)


SERVER_MESSAGES = _leaves(ServerMessage)


def message_name(message: type[msgspec.Struct]) -> str:
    """Return the value of `type` for a message class."""
    return str(message.__struct_config__.tag)
