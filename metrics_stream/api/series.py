"""Series in the answers of the API: what is asked for, and how one is written as JSON and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metrics_stream.api.responses import Next, PageQuery
from metrics_stream.conf import get_settings
from metrics_stream.core.delivery.selection import check_filters
from metrics_stream.core.errors import SpanError
from metrics_stream.core.formats.queries import Instant, Keys
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.keys import parse_row
from metrics_stream.core.protocol.bounds import DEFAULT_MAX_POINTS, MAX_POINTS
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.columns import SeriesColumns

Types = Annotated[tuple[str, ...], Meta(description="Metric types with commas between them; without it, every one.")]
Sources = Annotated[tuple[str, ...], Meta(description="Sources with commas between them; without it, every one.")]
AgentIds = Annotated[
    tuple[str, ...], Meta(description="Agents with commas between them. Metrics without agents are not affected.")
]
Fields = Annotated[
    tuple[str, ...], Meta(description="Fields, or objects that contain fields, with commas between them.")
]


Start = Annotated[Instant | None, Meta(description="The start of the span; each address has a usual one.")]
End = Annotated[Instant | None, Meta(description="The end of the span; without it, the end of what there is.")]
MaxPoints = Annotated[int, Meta(ge=MAX_POINTS[0], le=MAX_POINTS[1], description="The most buckets of a series.")]


def check_span(since: float | None, until: float | None) -> None:
    """Raise SpanError for a span that does not begin before its end."""
    if since is not None and until is not None and since >= until:
        raise SpanError("`from` is not before `to`; allowed: a span that begins before it ends")


class SeriesFilters(PageQuery, frozen=True, kw_only=True):
    """Which metrics are asked for, a page at a time."""

    types: Types = ()
    sources: Sources = ()
    agent_ids: AgentIds = ()
    fields: Fields = ()
    keys: Keys = {}


class SeriesQuery(SeriesFilters, frozen=True, kw_only=True):
    """Which series are asked for, and over which time."""

    from_: Start = msgspec.field(name="from", default=None)
    to: End = None
    max_points: MaxPoints = DEFAULT_MAX_POINTS


def filters_of(query: SeriesFilters) -> Filters:
    """Return the filters of a query as clients have them; raise ProtocolError."""
    filters = Filters(agent_ids=query.agent_ids, fields=query.fields, sources=query.sources, keys=query.keys)
    return check_filters(filters, max_terms=get_settings().max_filter_terms)


class SeriesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One field over time: columns with an entry for each bucket that has a value.

    Bucket k begins at `from` + k · `bucket_seconds`. `nulls` are the buckets in which null was published instead.
    """

    metric_type: str
    source: str
    key: Annotated[dict[str, str], Meta(description="The parts of the key of a row; empty for a metric without rows.")]
    field: str
    unit: str | None
    window_seconds: Annotated[float | None, Meta(description="Over how many seconds each value was measured.")]
    from_: str = msgspec.field(name="from")
    bucket_seconds: float
    buckets: list[int]
    last: list[float]
    min: list[float]
    max: list[float]
    mean: list[float]
    count: list[int]
    percentile: Annotated[
        list[float] | None, Meta(description="Of a percentile: that of everything measured in the bucket.")
    ]
    is_worst: Annotated[bool, Meta(description="Whether `percentile` is the worst value, for want of sketches.")]
    nulls: list[int]


_FIGURES = ("last", "min", "max", "mean", "count", "percentile")


class SeriesTable(msgspec.Struct, frozen=True, kw_only=True):
    """Series, by metric type, source, row and field."""

    series: list[SeriesAnswer]
    next: Next = None

    def table(self) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        """Return a row for each bucket of each series, with a column for each part of a key."""
        parts = list(dict.fromkeys(part for item in self.series for part in item.key))
        columns = ("timestamp", "metric_type", "source", *parts, "field", *_FIGURES, "unit", "window_seconds")
        return columns, (row for item in self.series for row in _rows_of(item, parts))


def _rows_of(item: SeriesAnswer, parts: Sequence[str]) -> Iterable[Sequence[Any]]:
    key = [item.key.get(part, "") for part in parts]
    starts_at = _seconds_of(item)
    columns = [getattr(item, name) or [None] * len(item.buckets) for name in _FIGURES]
    for bucket, *figures in zip(item.buckets, *columns, strict=True):
        at = format_timestamp(starts_at + bucket * item.bucket_seconds)
        yield [at, item.metric_type, item.source, *key, item.field, *figures, item.unit, item.window_seconds]


def _seconds_of(item: SeriesAnswer) -> float:
    return datetime.fromisoformat(item.from_).timestamp()


def describe_series(item: SeriesColumns) -> SeriesAnswer:
    """Return a series as the API writes it."""
    columns = {name: getattr(item, name) for name in _FIGURES}
    return SeriesAnswer(
        metric_type=item.metric_type,
        source=item.source,
        key={} if item.row is None else dict(parse_row(item.row)),
        field=item.field,
        unit=item.unit,
        window_seconds=item.window_seconds,
        from_=format_timestamp(item.starts_at),
        bucket_seconds=item.bucket_seconds,
        buckets=item.buckets,
        is_worst=item.is_worst,
        nulls=item.nulls,
        **columns,
    )
