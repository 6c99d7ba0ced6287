"""Read the series of a recording, from the coarsest tier that is fine enough and that retention has left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec
from django.db.models import QuerySet

from metrics_stream.core.metrics.annotations import annotations_of, stated_for
from metrics_stream.core.metrics.summaries import is_percentile, kind_of
from metrics_stream.core.series.columns import Column, SeriesColumns, SeriesKey, downsample, make_grid
from metrics_stream.core.series.counters import Counts, Span
from metrics_stream.core.series.packing import Unpacked
from metrics_stream.models import SeriesGroup, TestRun
from metrics_stream.runs.open_run import key_of
from metrics_stream.runs.parts import Edges, Wanted, choose_tier, load_parts
from metrics_stream.runs.span import find_span, recorded_span

# A run is summarised in the coarsest tier that has so many buckets: rates of short runs need narrow ones.
SUMMARY_POINTS = 61


class SeriesSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of one series of a run.

    A percentile or a counter has no mean. The mean of a rate or ratio is that of the run, from counts, if there are
    counters beside it, else that of its values. The `percentile` of a percentile is that of all measurements when all
    values came with sketches; else it is the worst value, and `is_worst` is True.
    """

    metric_type: str
    source: str
    row: str | None
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
    """Return the recorded fields of each metric type, source and row."""
    return [(key_of(group), tuple(group.fields)) for group in SeriesGroup.objects.filter(run=run)]


def series(
    run: TestRun,
    *,
    metric_type: str | None = None,
    source: str | None = None,
    row: str | None = None,
    field: str | None = None,
    fields: Collection[str] = (),
    selects: Callable[[SeriesKey], bool] | None = None,
    since: float | None = None,
    until: float | None = None,
    max_points: int = 300,
) -> list[SeriesColumns]:
    """Return series of a run with at most `max_points` buckets; all series have the same buckets.

    `fields` names fields, or objects that contain fields. Only what `selects` accepts is read. Without `since` and
    `until`, it is the whole run. Minimum and maximum are exact for each bucket, whatever tier they come from.
    """
    narrowed = {"metric_type": metric_type, "source": source, "row": row}
    groups: Iterable[SeriesGroup] = SeriesGroup.objects.filter(
        run=run, **{name: value for name, value in narrowed.items() if value is not None}
    )
    if selects is not None:
        groups = [group for group in groups if selects(key_of(group))]
    if (span := recorded_span(run)) is None:
        return []
    since = span[0] if since is None else since
    until = span[1] if until is None else until
    wanted = fields if field is None else (field,)
    return _read(groups, run.tiers_until, since=since, until=until, fields=wanted, max_points=max_points)


def groups_of(run: TestRun) -> QuerySet[SeriesGroup]:
    """Return what has one metric type, source and row in a run, in that order."""
    return SeriesGroup.objects.filter(run=run).order_by("metric_type", "source", "row")


def of_groups(
    run: TestRun,
    groups: Iterable[SeriesGroup],
    *,
    fields: Collection[str] = (),
    since: float | None = None,
    until: float | None = None,
    max_points: int = 300,
) -> list[SeriesColumns]:
    """Return the series of some groups of a run, as `series` does."""
    if (span := recorded_span(run)) is None:
        return []
    return _read(
        groups,
        run.tiers_until,
        since=span[0] if since is None else since,
        until=span[1] if until is None else until,
        fields=fields,
        max_points=max_points,
    )


def summary(
    run: TestRun, *, since: float | None = None, until: float | None = None, without: Collection[str] = ()
) -> list[SeriesSummary]:
    """Return count, minimum, maximum, mean and last value of each series of a run, or of a span of it.

    The metric types of `without` are left out.
    """
    span = find_span(run, since, until)
    if span is None:
        return []
    groups = {group.pk: group for group in SeriesGroup.objects.filter(run=run).exclude(metric_type__in=without)}
    tier = choose_tier(groups.keys(), span.until - span.since, SUMMARY_POINTS)
    parts = load_parts(Wanted(groups.keys(), span.reads_from, span.until, (), run.tiers_until), tier)
    return [one for pk, part in parts.items() for one in _summarize(groups[pk], part, span.in_buckets(tier))]


def _summarize(group: SeriesGroup, part: Unpacked, span: Span) -> Iterator[SeriesSummary]:
    key, stated = key_of(group), annotations_of(group.units, group.windows)
    merged = part.sketches.joined(span.first, span.end)
    counts: dict[str, Counts] = {}
    for field, whole in part.columns.items():
        column = whole.between(span.first, span.end)
        if not column.buckets:
            continue
        prefix = field[: field.rfind(".") + 1]
        if prefix not in counts:
            counts[prefix] = Counts(part.columns, span, prefix)
        count, most = sum(column.counts), max(column.highs)
        percentile, is_worst = None, False
        if is_percentile(field):
            found = merged.percentiles(field, [0], [count], [column.lasts[-1]])
            is_worst = found is None and count > 1
            percentile = most if found is None else found[0]
        unit, window_seconds = stated_for(stated, field)
        yield SeriesSummary(
            **key._asdict(),
            field=field,
            count=count,
            min=min(column.lows),
            max=most,
            mean=_mean(field, column, counts[prefix].mean(field)),
            last=column.lasts[-1],
            percentile=percentile,
            is_worst=is_worst,
            unit=unit,
            window_seconds=window_seconds,
        )


def _mean(field: str, column: Column, counted: float | None) -> float | None:
    if kind_of(field) in {"percentile", "counter"}:
        return None
    return sum(column.totals) / sum(column.counts) if counted is None else counted


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
        one
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
