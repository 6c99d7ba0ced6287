"""Read the series of a recording, from the coarsest tier that is fine enough and that retention has left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from metrics_stream.core.metrics.annotations import UNSTATED, annotations_of
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.metrics.summaries import is_percentile, kind_of
from metrics_stream.core.series.columns import Column, SeriesColumns, SeriesKey, downsample, make_grid
from metrics_stream.core.series.counters import Counts, Span
from metrics_stream.core.series.packing import Unpacked
from metrics_stream.models import SeriesGroup, TestRun
from metrics_stream.runs.open_run import key_of
from metrics_stream.runs.parts import Edges, Wanted, choose_tier, load_parts
from metrics_stream.runs.span import recorded_span

# The last value of a counter before a span is looked for in this much time before it.
_SECONDS_BEFORE = 600

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


def summary(run: TestRun, *, since: float | None = None, until: float | None = None) -> list[SeriesSummary]:
    """Return count, minimum, maximum, mean and last value of each series of a run, or of a span of it."""
    span = find_span(run, since, until)
    if span is None:
        return []
    groups = {group.pk: group for group in SeriesGroup.objects.filter(run=run)}
    tier = choose_tier(groups.keys(), span.until - span.since, SUMMARY_POINTS)
    parts = load_parts(Wanted(groups.keys(), span.reads_from, span.until, (), run.tiers_until), tier)
    return [one for pk, part in parts.items() for one in _summarize(groups[pk], part, span.in_buckets(tier))]


class RunSpan(NamedTuple):
    """A span of a run, in seconds since 1970."""

    since: float
    until: float
    is_whole: bool
    began_at: float
    first_at: float
    last_at: float

    @property
    def reads_from(self) -> float:
        """The instant from which counters are read: the last value before the span is needed, too."""
        return max(self.first_at, self.since - _SECONDS_BEFORE)

    def in_buckets(self, tier: int) -> Span:
        """Return the buckets of the span; a bucket at its end belongs to the next one, at the end of a run to it."""
        is_last = self.until >= self.last_at
        end = int(self.until // tier) + 1 if is_last else max(-int(-self.until // tier), int(self.since // tier) + 1)
        return Span(int(self.since // tier), end, tier, self.began_at, self.first_at, self.last_at)


def find_span(run: TestRun, since: float | None, until: float | None) -> RunSpan | None:
    """Return the part of a run between two instants, without them the whole; None if nothing was recorded in it."""
    if (recorded := recorded_span(run)) is None:
        return None
    first_at, last_at = recorded
    began_at = min(first_at, run.started_at.timestamp() if run.started_at else first_at)
    begin, end = max(first_at, since or first_at), min(last_at, until or last_at)
    if begin > end:
        return None
    return RunSpan(begin, end, begin == first_at and end == last_at, began_at, first_at, last_at)


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
        unit, window_seconds = stated.get(field, UNSTATED)
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


def overviews(
    runs: Iterable[TestRun],
    *,
    preferred: Sequence[tuple[str, str]] = (),
    max_points: int = 60,
    permit: Permit = EVERYTHING,
) -> dict[int, SeriesColumns]:
    """Return one series that the permit shows for each run that has one, by the primary key of the run.

    `preferred` are metric types and fields; the first that a run has is used, else its first field.
    """
    runs = list(runs)
    times = {run.pk: span for run in runs if (span := recorded_span(run)) is not None}
    edges = {run.pk: run.tiers_until for run in runs}
    groups: dict[int, list[SeriesGroup]] = defaultdict(list)
    for group in SeriesGroup.objects.filter(run__in=times):
        groups[group.run_id].append(group)
    found = {}
    for pk, of_run in groups.items():
        if (choice := _choose_series(of_run, preferred, permit)) is None:
            continue
        group, field = choice
        since, until = times[pk]
        columns = _read([group], edges[pk], since=since, until=until, fields=(field,), max_points=max_points)
        if columns:
            found[pk] = columns[0]
    return found


def _choose_series(
    groups: list[SeriesGroup], preferred: Sequence[tuple[str, str]], permit: Permit
) -> tuple[SeriesGroup, str] | None:
    def is_shown(group: SeriesGroup, field: str) -> bool:
        return permit.shows(*key_of(group), field)

    for metric_type, field in preferred:
        for group in groups:
            if group.metric_type == metric_type and field in group.fields and is_shown(group, field):
                return group, field
    return next(((group, field) for group in groups for field in group.fields if is_shown(group, field)), None)


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
