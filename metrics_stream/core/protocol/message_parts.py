"""Objects within messages of the server."""

from __future__ import annotations

import msgspec


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
