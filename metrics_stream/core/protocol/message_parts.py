"""Objects within messages of the server."""

from __future__ import annotations

import msgspec

from metrics_stream.core.protocol import bounds


class Series(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of one source (and row) over time: columns with an entry for each bucket that has a value.

    Without `min` and `max` both equal `last` in every bucket. `percentile` is set for a percentile whose buckets hold
    several values: the percentile of all measured values, or with `is_worst` the worst one. `nulls` are buckets without
    a value in which null was published: the line ends there. The producer stated `unit` and `window_seconds` last.
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
    nulls: list[int] = []
    unit: str | None = None
    window_seconds: float | None = None
    agent_id: str | None = None
    key: dict[str, str] | None = None
    """The parts of the key of a row that is no agent."""


class SourceConflict(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of this type and source come from so many producers at a time."""

    metric_type: str
    source: str
    producers: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of what a client may send, so that it can keep to them."""

    message_bytes: int
    messages_per_second: float
    message_burst: int
    errors_per_minute: int
    filter_terms: int
    interval_seconds: tuple[float, float] = bounds.INTERVAL_SECONDS
    batch_size: tuple[int, int] = bounds.BATCH_SIZE
    batch_timeout_seconds: tuple[float, float] = bounds.BATCH_TIMEOUT_SECONDS
    backfill_seconds: tuple[float, float] = bounds.BACKFILL_SECONDS
    max_points: tuple[int, int] = bounds.MAX_POINTS
    speed: tuple[float, float] = bounds.SPEED
    history_seconds: float = 0.0
    """How long the history keeps metrics; 0 without a history."""
