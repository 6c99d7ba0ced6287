"""The settings of this app: the dict `METRICS_STREAM` overrides documented defaults.

They are parsed once, frozen, and parsed again when Django reports a changed setting. Views, consumers and commands
fetch them and pass values down.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from metrics_stream.core.metrics.catalogue import ALL, BUILTIN_TYPES, SLUG_PATTERN, Catalogue, MetricType
from metrics_stream.core.metrics.metric import MAX_METRIC_BYTES

# The characters that channel layers allow in a group name, short enough for a metric type to follow.
_GROUP_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,40}")

# 0 means "keep nothing" for the first, and "keep for ever" for the others.
_MAY_BE_ZERO = frozenset(
    {"HISTORY_SECONDS", "RECORD_RAW_DAYS", "RECORD_1S_DAYS", "RECORD_10S_DAYS", "RECORD_60S_DAYS", "AUDIT_DAYS"}
    | {"TOKEN_MAX_DAYS", "SHARE_LINK_MAX_DAYS"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """The keys of `METRICS_STREAM`: a lower-case name here is an upper-case key there."""

    extra_metric_types: tuple[MetricType, ...] = ()
    """More metric types, slug to label: `{"cloudwatch": "CloudWatch"}`. Each has a group of its own."""

    source: str = field(default_factory=socket.gethostname)
    """The `source` of metrics if the producer names none. Default: the host name."""

    group_prefix: str = "metrics_stream"
    """The prefix of names on the channel layer; two installations on one Redis need different prefixes."""

    max_clients: int = 10_000
    """WebSockets that one process accepts before it closes with 4013."""

    max_clients_per_user: int = 100
    """How many of them may belong to one user or token; the next is closed with 4013."""

    max_clients_per_address: int = 1_000
    """The same for one network address; this machine's own is not counted."""

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

    ingest_max_agents: int = 1_000
    """Agents that one token may publish."""

    ingest_max_open_runs: int = 20
    """Test runs that one token may have started and that have not ended."""

    rejoin_seconds: float = 20.0
    """How often a process joins its channel-layer groups again, because layers forget memberships."""

    bus_timeout_seconds: float = 5.0
    """The deadline of each call to the channel layer."""

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
        """Return the metric types of this installation."""
        return _catalogue(self.extra_metric_types)


@cache
def _catalogue(extra_metric_types: tuple[MetricType, ...]) -> Catalogue:
    # Cached, since it is needed for every metric that is published.
    return Catalogue(extra_metric_types)


def parse_settings(overlay: dict[str, Any]) -> StreamSettings:
    """Return the settings with `overlay` over the defaults; raise ImproperlyConfigured that names the key."""
    known = {item.name.upper(): item.name for item in fields(StreamSettings)}
    values: dict[str, Any] = {}
    for key, value in overlay.items():
        if key not in known:
            raise ImproperlyConfigured(
                f"METRICS_STREAM has an unknown key {key!r}; allowed: {', '.join(sorted(known))}"
            )
        values[known[key]] = _parse_types(value) if key == "EXTRA_METRIC_TYPES" else _parse_value(key, value)
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
    allowed = int if kind == "int" else int | float
    is_number = isinstance(value, allowed) and not isinstance(value, bool)
    if is_number and (0 < value < float("inf") or (value == 0 and key in _MAY_BE_ZERO)):
        return value
    number = "a whole number" if kind == "int" else "a number"
    bound = "0, or above 0" if key in _MAY_BE_ZERO else "above 0"
    raise ImproperlyConfigured(f"METRICS_STREAM[{key!r}] is {value!r}; it must be {number} {bound}")


def _parse_types(value: Any) -> tuple[MetricType, ...]:
    if not isinstance(value, dict):
        raise ImproperlyConfigured(
            f"METRICS_STREAM['EXTRA_METRIC_TYPES'] is {value!r}; it must be a dict of slug to label"
        )
    taken = {ALL, *(item.slug for item in BUILTIN_TYPES)}
    for slug, label in value.items():
        if not isinstance(slug, str) or not SLUG_PATTERN.fullmatch(slug):
            raise ImproperlyConfigured(
                f"METRICS_STREAM['EXTRA_METRIC_TYPES'] has the slug {slug!r}; a slug is lower-case letters, digits and "
                "underscores, starts with a letter and has at most 40 characters"
            )
        if slug in taken:
            raise ImproperlyConfigured(f"METRICS_STREAM['EXTRA_METRIC_TYPES'] redefines {slug!r}, which exists already")
        if not isinstance(label, str) or not label:
            raise ImproperlyConfigured(f"METRICS_STREAM['EXTRA_METRIC_TYPES'][{slug!r}] must be a label, got {label!r}")
    return tuple(MetricType(slug, label) for slug, label in value.items())


@cache
def get_settings() -> StreamSettings:
    """Return the settings in force."""
    return parse_settings(getattr(django_settings, "METRICS_STREAM", {}))


def _reset(*, setting: str, **_: Any) -> None:
    if setting == "METRICS_STREAM":
        get_settings.cache_clear()


setting_changed.connect(_reset)
