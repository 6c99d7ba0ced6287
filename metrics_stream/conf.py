"""The settings of this app: the dict `METRICS_STREAM` overrides documented defaults.

They are parsed once, frozen, and parsed again when Django reports a changed setting. Views, consumers and commands
fetch them and pass values down. A project can also take them from its environment, with `read_environment`.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from metrics_stream.core.delivery.frames import MAX_FRAME_BYTES
from metrics_stream.core.metrics.catalogue import Catalogue, MetricType
from metrics_stream.core.metrics.metric import LEAST_METRIC_BYTES, MAX_METRIC_BYTES
from metrics_stream.core.origins import parse_origin
from metrics_stream.metric_types import make_catalogue, parse_extra_types

# The characters that channel layers allow in a group name, short enough for a metric type to follow.
_GROUP_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,40}")

BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
"""What a variable of the environment may say, in lower case."""

PREFIX = "METRICS_STREAM_"
"""The name of a key's variable begins with it."""

# These two were settings beside the dict in earlier versions; there they still work, and go before the dict.
_OLDER_NAMES = ("ANONYMOUS_READ", "ALLOWED_ORIGINS")

# 0 means "keep nothing" for the first, and "keep for ever" for the others.
_MAY_BE_ZERO = frozenset(
    {"HISTORY_SECONDS", "RECORD_RAW_DAYS", "RECORD_1S_DAYS", "RECORD_10S_DAYS", "RECORD_60S_DAYS", "AUDIT_DAYS"}
    | {"TOKEN_MAX_DAYS", "SHARE_LINK_MAX_DAYS"}
)


# Below these values nothing works, and above them numbers overflow somewhere: in dates, in timers, in MessagePack.
_BOUNDS_OF_KINDS: dict[str, tuple[float, float]] = {"int": (1, 10**12), "float": (0.001, 10**9)}
_DAY = 86_400.0
_BOUNDS: dict[str, tuple[float, float]] = {
    # The server's own metric must fit, and the largest metric must fit into a frame with what surrounds it.
    "MAX_METRIC_BYTES": (LEAST_METRIC_BYTES, MAX_FRAME_BYTES - LEAST_METRIC_BYTES),
    # One of each metric type.
    "MAX_PENDING_METRICS": (10, 10**12),
    "MAX_PENDING_BYTES": (LEAST_METRIC_BYTES, 10**12),
    "SLOW_CLIENT_BYTES": (LEAST_METRIC_BYTES, 10**12),
    # Pages subscribe with messages of this size; the WebSocket of the server reads no more than 16 MiB.
    "MAX_MESSAGE_BYTES": (1_024, 2**24),
    # The state of the history outlives its metrics; it is kept for 30 days.
    "HISTORY_SECONDS": (1, 30 * _DAY),
    "BUS_TIMEOUT_SECONDS": (0.1, 60),
    "LATENCY_SECONDS": (0.1, 3_600),
    # With shorter times a process does little else.
    "REJOIN_SECONDS": (0.01, _DAY),
    "RECHECK_SECONDS": (0.01, _DAY),
    "AUTHENTICATE_SECONDS": (0.01, 3_600),
    "SLOW_CLIENT_SECONDS": (0.1, 3_600),
    "DRAIN_SECONDS": (0.001, 3_600),
    # A hundred years: a date that far away still is one.
    **dict.fromkeys(
        ("SHARE_SESSION_DAYS", "RECORD_RAW_DAYS", "RECORD_1S_DAYS", "RECORD_10S_DAYS", "RECORD_60S_DAYS"),
        (0.001, 36_500),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """The keys of `METRICS_STREAM`: a lower-case name here is an upper-case key there."""

    extra_metric_types: tuple[MetricType, ...] = ()
    """More metric types, slug to label: `{"cloudwatch": "CloudWatch"}`. Each has a group of its own."""

    source: str = field(default_factory=socket.gethostname)
    """The `source` of metrics if the producer names none. Default: the host name."""

    anonymous_read: bool = False
    """Whether everybody who reaches the server sees every metric without signing in."""

    allowed_origins: tuple[str, ...] = ()
    """Origins, with scheme and port, whose pages may open WebSockets here although they come from another server."""

    group_prefix: str = "metrics_stream"
    """The prefix of names on the channel layer; two installations on one Redis need different prefixes."""

    max_clients: int = 10_000
    """WebSockets that one process accepts before it closes with 4013."""

    max_clients_per_user: int = 100
    """WebSockets of one user or token, over all server processes; the next is closed with 4013."""

    max_clients_per_address: int = 1_000
    """The same for one network address, or the first 64 bits of an IPv6 address; this machine's own is not counted."""

    authenticate_seconds: float = 10.0
    """How long a client without session or token may take to send a token before 4502."""

    recheck_seconds: float = 30.0
    """How often the permissions of connected clients are checked, in addition to the check on each change."""

    share_session_days: float = 400.0
    """How long a browser can use a share link that was opened in it, unless the link ends sooner.

    Browsers keep no cookie for longer than the default.
    """

    session_idle_minutes: float = 20_160.0
    """After so many minutes without a request a sign-in ends, also on open WebSockets."""

    session_max_hours: float = 720.0
    """So many hours after it began a sign-in ends in any case."""

    token_max_days: float = 0.0
    """How long an access token is valid at most, also one that exists already; 0: for ever."""

    share_link_max_days: float = 0.0
    """The same for a share link."""

    max_message_bytes: int = 65_536
    """The largest message of a client; a larger one closes with 4509."""

    messages_per_second: float = 10.0
    """Messages a client may send each second on average before 4029."""

    message_burst: int = 20
    """Messages a client may send at once."""

    message_cost_per_second: float = 50.0
    """What all clients of a user or token may cost each second on average; see `consumers.limits.cost_of`."""

    message_cost_burst: int = 1_000
    """What they may cost at once, before 4029."""

    max_errors_per_minute: int = 5
    """After this many errors within a minute, the client is closed with 4501."""

    max_filter_terms: int = 1_000
    """Agent ids, sources or fields that one filter may name."""

    max_pending_metrics: int = 10_000
    """Metrics that a view keeps between two frames; beyond it the oldest are dropped, with a `gap`."""

    max_pending_bytes: int = 4_000_000
    """The same in bytes; more than 1 MB is sent in several frames at once."""

    slow_client_bytes: int = 1_000_000
    """Bytes kept for a client that is busy with its last frame, before only the newest metrics are kept."""

    slow_client_seconds: float = 10.0
    """How long a client may read nothing of a frame before it is closed with 4008."""

    drain_seconds: float = 5.0
    """A stopping server spreads its closes over at most this many seconds, so that clients return spread out."""

    max_metric_bytes: int = MAX_METRIC_BYTES
    """The largest metric that the helper accepts, as JSON."""

    ingest_max_body_bytes: int = 1_000_000
    """The largest body of a request that publishes, as it is sent; a larger one is answered with 413."""

    ingest_max_unpacked_bytes: int = 4_000_000
    """The same after decompression."""

    ingest_max_metrics: int = 1_000
    """Metrics that one request may publish."""

    ingest_requests_per_second: float = 20.0
    """Requests that a token may send each second on average before 429, ten seconds' worth at once."""

    ingest_metrics_per_second: float = 2_000.0
    """The same for metrics."""

    ingest_guesses_per_minute: float = 60.0
    """Requests without a valid token that one network address may send before 429."""

    ingest_max_sources: int = 100
    """Sources that one token may publish as."""

    ingest_max_types: int = 20
    """Metric types that one token with the scope `types` may create."""

    ingest_max_agents: int = 1_000
    """Agents that one token may publish."""

    ingest_max_fields: int = 500
    """Numbers that a metric of a token may have, or each of its agents: each is a series."""

    ingest_runs_per_hour: int = 100
    """Test runs that one token may start within an hour."""

    ingest_max_open_runs: int = 20
    """Test runs that one token may have started and that have not ended."""

    page_max_body_bytes: int = 2_621_440
    """The largest body of any other request, such as a form of the admin; a larger one is answered with 413."""

    metrics_for_any_host: bool = False
    """Whether `/metrics` answers whatever the Host of a request is, as `/healthz` and `/readyz` do."""

    rejoin_seconds: float = 20.0
    """How often a process joins its channel-layer groups again, because layers forget memberships."""

    bus_timeout_seconds: float = 5.0
    """The deadline of each call to the channel layer."""

    latency_seconds: float = 2.0
    """The latency that the service promises: a message to itself that takes longer is a fault."""

    history_seconds: float = 900.0
    """How long published metrics are kept for new and returning clients; 0: not at all."""

    history_metrics: int = 200_000
    """The maximum number of metrics of each type that are kept."""

    history_bytes: int = 100_000_000
    """The same in bytes, which applies first for metrics of more than 500 bytes."""

    record_raw_days: float = 30.0
    """For how many days the metrics of a test run are kept whole, for replays and exports; 0: for ever."""

    record_1s_days: float = 30.0
    """The same for its series in buckets of 1 s."""

    record_10s_days: float = 365.0
    """The same for buckets of 10 s."""

    record_60s_days: float = 0.0
    """The same for buckets of 60 s, from which a run's summary is made."""

    audit_days: float = 365.0
    """For how many days the audit log is kept; 0: for ever."""

    stale_after_seconds: float = 10.0
    """After this time without new metrics, a page marks a panel as stale."""

    def catalogue(self) -> Catalogue:
        """Return the metric types of this installation, as this process knows them now."""
        return make_catalogue(self.extra_metric_types)


def parse_settings(overlay: dict[str, Any]) -> StreamSettings:
    """Return the settings with `overlay` over the defaults; raise ImproperlyConfigured that names the key."""
    known = {item.name.upper(): item.name for item in fields(StreamSettings)}
    values: dict[str, Any] = {}
    for key, value in overlay.items():
        if key not in known:
            raise ImproperlyConfigured(
                f"METRICS_STREAM has an unknown key {key!r}; allowed: {', '.join(sorted(known))}"
            )
        values[known[key]] = parse_extra_types(value) if key == "EXTRA_METRIC_TYPES" else _parse_value(key, value)
    return StreamSettings(**values)


def _parse_value(key: str, value: Any) -> Any:
    kind = StreamSettings.__annotations__[key.lower()]
    if key == "GROUP_PREFIX" and not (isinstance(value, str) and _GROUP_PREFIX.fullmatch(value)):
        raise ImproperlyConfigured(
            f"METRICS_STREAM['GROUP_PREFIX'] is {value!r}; it must be 1 to 40 letters, digits, underscores, dots or "
            "hyphens"
        )
    if kind == "str":
        if isinstance(value, str) and value:
            return value
        raise ImproperlyConfigured(f"METRICS_STREAM[{key!r}] is {value!r}; it must be a text and not empty")
    if kind == "bool":
        if isinstance(value, bool):
            return value
        raise ImproperlyConfigured(f"METRICS_STREAM[{key!r}] is {value!r}; it must be True or False")
    if kind == "tuple[str, ...]":
        return _parse_origins(key, value)
    allowed = int if kind == "int" else int | float
    is_number = isinstance(value, allowed) and not isinstance(value, bool)
    least, most = _BOUNDS.get(key, _BOUNDS_OF_KINDS[kind])
    if is_number and (least <= value <= most or (value == 0 and key in _MAY_BE_ZERO)):
        return value
    number = "a whole number" if kind == "int" else "a number"
    bound = "0, or above 0" if key in _MAY_BE_ZERO else "above 0"
    if is_number and 0 < value < float("inf"):
        zero = "0, or " if key in _MAY_BE_ZERO else ""
        bound = f"{zero}from {least:.15g} to {most:.15g}"
    raise ImproperlyConfigured(f"METRICS_STREAM[{key!r}] is {value!r}; it must be {number} {bound}")


def _parse_origins(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(origin, str) for origin in value):
        raise ImproperlyConfigured(f"METRICS_STREAM[{key!r}] is {value!r}; it must be a list of origins")
    return tuple(value)


@cache
def get_settings() -> StreamSettings:
    """Return the settings in force."""
    return parse_settings(find_overlay())


def find_overlay() -> dict[str, Any]:
    """Return the dict in Django's settings, with the settings that once stood beside it."""
    overlay = getattr(django_settings, "METRICS_STREAM", {})
    if not isinstance(overlay, dict):
        raise ImproperlyConfigured(f"METRICS_STREAM is {overlay!r}; it must be a dict")
    older = {key: getattr(django_settings, key) for key in _OLDER_NAMES if hasattr(django_settings, key)}
    return {**overlay, **older}


def read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys that variables METRICS_STREAM_<KEY> set, for the dict `METRICS_STREAM`.

    Raises ImproperlyConfigured, which names variable, value and what is allowed. An empty variable is as good as none.
    """
    known = {f"{PREFIX}{item.name.upper()}": item.name for item in fields(StreamSettings)}
    found = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or not text.strip():
            continue
        if variable not in known:
            raise ImproperlyConfigured(f"{variable} is no variable of a setting; allowed: {', '.join(sorted(known))}")
        key = known[variable].upper()
        read, allowed = _READERS[StreamSettings.__annotations__[known[variable]]]
        try:
            value = read(text.strip())
        except (ValueError, KeyError):
            raise ImproperlyConfigured(f"{variable}={text}: allowed: {allowed}") from None
        try:
            parse_settings({key: value})
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"{variable}={text}: {error}") from None
        found[key] = value
    return found


def _read_origins(text: str) -> list[str]:
    origins = [part.strip() for part in text.split(",") if part.strip()]
    if not all(map(parse_origin, origins)):
        raise ValueError
    return origins


# By annotation: how the text of a variable is read, and what is allowed.
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "str": (str, "a text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (lambda text: BOOLEANS[text.lower()], "1 or 0, true or false, yes or no, on or off"),
    "tuple[str, ...]": (_read_origins, "origins between commas, such as https://portal.example.org:8443"),
    "tuple[MetricType, ...]": (json.loads, 'a JSON object of slug to label, such as {"cloudwatch": "CloudWatch"}'),
}


def _reset(*, setting: str, **_: Any) -> None:
    if setting in ("METRICS_STREAM", *_OLDER_NAMES):
        get_settings.cache_clear()


setting_changed.connect(_reset)


def templates_folder() -> Path:
    """Return the folder of the templates, for `DIRS` of the setting `TEMPLATES` of any project.

    It holds `metrics_stream/` and `admin/metrics_stream/` only, so it replaces no page of the project.
    """
    package = Path(__file__).resolve().parent
    # An installed package has them inside, a checkout beside the package.
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"
