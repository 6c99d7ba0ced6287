"""`/api/v1/latest/` and `/api/v1/series/`: the newest metrics, and the series of the recent past."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metrics_stream.access.grants import Access
from metrics_stream.api.methods import by_method
from metrics_stream.api.readers import HIGH_COST, Call, reads
from metrics_stream.api.responses import Next, page_of
from metrics_stream.api.series import SeriesFilters, SeriesQuery, SeriesTable, check_span, describe_series, filters_of
from metrics_stream.core.delivery.selection import Selection, compile_projection, expand
from metrics_stream.core.errors import RequestRefusedError
from metrics_stream.core.formats.operations import CSV, JSON
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.hub.views import project_metric
from metrics_stream.pacing import Pace
from metrics_stream.runtime.newest import newest_reader_of
from metrics_stream.runtime.runtime import get_runtime


def select(query: SeriesFilters, access: Access) -> Selection:
    """Return what a query selects of live metrics, as far as it is visible; raise ProtocolError for unknown types."""
    if not access.is_live:
        raise RequestRefusedError(RequestErrorCode.FORBIDDEN, "your access shows test runs, and nothing that is live")
    known, problem = expand(query.types or (ALL,), access.metric_types, access.everything)
    if problem:
        raise RequestRefusedError(RequestErrorCode.INVALID_PARAMETER, problem)
    return Selection(access.visible_types(known), filters_of(query), access.live_permit)


# --- the newest metrics ---


class LatestQuery(SeriesFilters, frozen=True, kw_only=True):
    """The parameters of the newest metrics."""


class MetricAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A metric as clients get it; it may have further keys, which docs/protocol.md describes."""

    metric_type: str
    timestamp: str
    source: str
    data: dict[str, Any] | list[dict[str, Any]]
    run: str | msgspec.UnsetType = msgspec.UNSET


class LatestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the newest metric of each metric type, source and set of rows."""

    metrics: list[MetricAnswer]
    next: Next


class _Latest(msgspec.Struct, frozen=True, kw_only=True):
    """LatestAnswer with metrics that stay as they are encoded."""

    metrics: list[msgspec.Raw]
    next: str | None


@reads(
    summary="Read the newest metric of each kind.", tag="Live", query=LatestQuery, answer=LatestAnswer, cost=HIGH_COST
)
async def read_latest(call: Call[LatestQuery]) -> _Latest:
    """Return the visible part of the newest metrics, by metric type and source."""
    selection = select(call.query, call.access)
    newest = await newest_reader_of(get_runtime()).read(selection.metric_types, selection.permit)
    project, pace = compile_projection(selection.filters, selection.permit), Pace()
    bodies: list[bytes] = []
    for metric in sorted(newest.metrics, key=lambda metric: metric.kind):
        if metric.metric_type in selection.metric_types and (body := project_metric(metric, project)) is not None:
            bodies.append(body)
        await pace.pause_if_due()
    shown, following = page_of(bodies, call.query)
    return _Latest(metrics=[msgspec.Raw(body) for body in shown], next=following)


# --- the recent past ---

# Without `from`, the series begin so long ago.
USUAL_SECONDS = 300.0


class RecentTable(SeriesTable, frozen=True, kw_only=True):
    """Series of the recent past."""

    left_out: Annotated[
        list[str], Meta(description="Metric types of which series are missing because there are too many.")
    ] = []


@reads(
    summary="Read the series of the recent past.",
    tag="Live",
    query=SeriesQuery,
    answer=RecentTable,
    answers_with=(JSON, CSV),
    cost=HIGH_COST,
)
async def read_recent(call: Call[SeriesQuery]) -> RecentTable:
    """Return the visible series between two instants, as far as the history keeps them."""
    query = call.query
    until = time.time() if query.to is None else query.to
    since = until - USUAL_SECONDS if query.from_ is None else query.from_
    check_span(since, until)
    selection, recent = select(query, call.access), get_runtime().recent
    if recent is None:
        return RecentTable(series=[])
    found = await recent.series(selection, since, until, query.max_points)
    found.sort(key=lambda item: (item.metric_type, item.source, item.row or "", item.field))
    shown, following = page_of(found, query)
    return RecentTable(
        series=[describe_series(item) for item in shown],
        next=following,
        left_out=list(recent.left_out(selection)),
    )


latest = by_method(GET=read_latest)
series = by_method(GET=read_recent)
