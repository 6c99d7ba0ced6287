"""Read the series of a recording, from the coarsest tier that is fine enough and that retention has left."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from metrics_stream.core.metrics.annotations import Annotation, annotations_of, stated_for
from metrics_stream.core.metrics.summaries import is_percentile
from metrics_stream.core.series.columns import Column, SeriesColumns, SeriesKey, downsample, make_grid
from metrics_stream.core.series.sketch_columns import SketchColumns
from metrics_stream.models import SeriesGroup, TestRun
from metrics_stream.runs.open_run import key_of
from metrics_stream.runs.parts import Edges, Wanted, choose_tier, load_parts
from metrics_stream.runs.span import recorded_span

# One bucket of so many seconds contains every run.
_END_OF_TIME = 253_402_300_800


class SeriesSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of one series of a run.

    A percentile has no mean. Its `percentile` is that of all measurements when all values came with sketches; else it
    is the worst value, and `is_worst` is True.
    """

    metric_type: str
    source: str
    agent_id: str | None
    field: str
    count: int
    min: float
    max: float
    mean: float | None
    last: float
    percentile: float | None = None
    is_worst: bool = False
    unit: str | None = None
    window_seconds: float | None = None


def keys(run: TestRun) -> list[tuple[SeriesKey, tuple[str, ...]]]:
    """Return the recorded fields of each metric type, source and agent."""
    return [(key_of(group), tuple(group.fields)) for group in SeriesGroup.objects.filter(run=run)]


def series(
    run: TestRun,
    *,
    metric_type: str | None = None,
    source: str | None = None,
    agent_id: str | None = None,
    field: str | None = None,
    fields: Collection[str] = (),
    since: float | None = None,
    until: float | None = None,
    max_points: int = 300,
) -> list[SeriesColumns]:
    """Return series of a run with at most `max_points` buckets; all series have the same buckets.

    `fields` names fields, or objects that contain fields. Without `since` and `until`, it is the whole run. Minimum and
    maximum are exact for each bucket, whatever tier they come from.
    """
    narrowed = {"metric_type": metric_type, "source": source, "agent_id": agent_id}
    groups = SeriesGroup.objects.filter(
        run=run, **{name: value for name, value in narrowed.items() if value is not None}
    )
    if (span := recorded_span(run)) is None:
        return []
    since = span[0] if since is None else since
    until = span[1] if until is None else until
    wanted = fields if field is None else (field,)
    return _read(groups, run.tiers_until, since=since, until=until, fields=wanted, max_points=max_points)


def summary(run: TestRun) -> list[SeriesSummary]:
    """Return count, minimum, maximum, mean and last value of each series of a run."""
    if (span := recorded_span(run)) is None:
        return []
    since, until = span
    groups = {group.pk: group for group in SeriesGroup.objects.filter(run=run)}
    parts = load_parts(
        Wanted(groups.keys(), since, until, (), run.tiers_until), choose_tier(groups.keys(), until - since, 1)
    )
    return [
        _summarize(key_of(groups[pk]), field, column, merged, stated_for(stated, field))
        for pk, part in parts.items()
        for merged in [_merge(part.sketches)]
        for stated in [annotations_of(groups[pk].units, groups[pk].windows)]
        for field, column in part.columns.items()
    ]


def _summarize(
    key: SeriesKey, field: str, column: Column, sketches: SketchColumns, stated: Annotation
) -> SeriesSummary:
    count, most = sum(column.counts), max(column.highs)
    percentile, is_worst = None, False
    if is_percentile(field):
        found = sketches.percentiles(field, [0], [count], [column.lasts[-1]])
        is_worst = found is None and count > 1
        percentile = most if found is None else found[0]
    return SeriesSummary(
        **key._asdict(),
        field=field,
        count=count,
        min=min(column.lows),
        max=most,
        mean=None if is_percentile(field) else sum(column.totals) / count,
        last=column.lasts[-1],
        percentile=percentile,
        is_worst=is_worst,
        unit=stated.unit,
        window_seconds=stated.window_seconds,
    )


def _merge(sketches: SketchColumns) -> SketchColumns:
    merged = SketchColumns()
    merged.merge(sketches, factor=_END_OF_TIME)
    return merged


def _read(
    groups: Iterable[SeriesGroup],
    edges: Edges,
    *,
    since: float,
    until: float,
    fields: Collection[str],
    max_points: int,
) -> list[SeriesColumns]:
    by_pk = {group.pk: group for group in groups}
    tier = choose_tier(by_pk.keys(), until - since, max_points)
    parts = load_parts(Wanted(by_pk.keys(), since, until, fields, edges), tier)
    grid = make_grid(since, until, bucket_seconds=tier, max_points=max_points)
    return [
        _use_worst_percentile(one)
        for pk, group in by_pk.items()
        if pk in parts
        for one in downsample(
            key_of(group),
            parts[pk].columns,
            grid,
            bucket_seconds=tier,
            fields=fields,
            sketches=parts[pk].sketches,
            annotations=annotations_of(group.units, group.windows),
        )
    ]


def _use_worst_percentile(one: SeriesColumns) -> SeriesColumns:
    """Return a series of percentiles with the worst of each bucket, when a bucket has several and no sketches."""
    if one.percentile is not None or max(one.count) == 1 or not is_percentile(one.field):
        return one
    return msgspec.structs.replace(one, percentile=one.max, is_worst=True)
