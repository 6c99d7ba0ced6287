"""The series that stands for a run in a list: its load, summed over the sources of the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.models import SeriesGroup, TestRun
from metrics_stream.runs import series as run_series
from metrics_stream.runs.open_run import key_of

# Sums are made of buckets of a second in runs of an hour, and of wider ones in longer runs or with many sources.
SUM_POINTS = 3_600
MAX_SUMMED = 200_000

# A source that reports every five seconds still has its load in the seconds between; after so many of its usual
# distances without a report it has none.
HELD_DISTANCES = 3


class Headline(NamedTuple):
    """A series, the greatest value of it, and the sources whose values it is the sum of."""

    series: SeriesColumns
    peak: float
    sources: tuple[str, ...]
    others: int = 0
    """How many further sources have such a series, which is no part of a sum."""


def headline(
    run: TestRun,
    *,
    rates: Sequence[tuple[str, str]],
    preferred: Sequence[tuple[str, str]] = (),
    max_points: int = 60,
    permit: Permit = EVERYTHING,
) -> Headline | None:
    """Return the headline of a run, of what the permit shows; None if that is nothing.

    `rates` are metric types and fields whose values of several sources add up. The first that the run has is summed
    over its sources. Else it is one series: of the first of `preferred`, or the first field of the run.
    """
    if run.first_at is None or run.last_at is None:
        return None
    groups = list(SeriesGroup.objects.filter(run=run))
    for metric_type, field in rates:
        found = _with_field(groups, metric_type, field, permit)
        # The rate of a source includes those of its agents.
        found = [group for group in found if not group.row] or found
        if found:
            return _sum(run, found, field, max_points) if len(found) > 1 else _read(run, found[0], field, max_points)
    for metric_type, field in preferred:
        if found := _with_field(groups, metric_type, field, permit):
            return _read(run, found[0], field, max_points, others=len(found) - 1)
    for group in groups:
        for field in group.fields:
            if permit.shows(*key_of(group), field):
                others = len(_with_field(groups, group.metric_type, field, permit)) - 1
                return _read(run, group, field, max_points, others=others)
    return None


def _with_field(groups: Sequence[SeriesGroup], metric_type: str, field: str, permit: Permit) -> list[SeriesGroup]:
    return [
        group
        for group in groups
        if group.metric_type == metric_type and field in group.fields and permit.shows(*key_of(group), field)
    ]


def _read(run: TestRun, group: SeriesGroup, field: str, max_points: int, *, others: int = 0) -> Headline | None:
    found = run_series.series(
        run,
        metric_type=group.metric_type,
        source=group.source,
        row=group.row,
        field=field,
        max_points=max_points,
    )
    return Headline(found[0], max(found[0].max), (group.source,), others) if found else None


def _sum(run: TestRun, groups: Sequence[SeriesGroup], field: str, max_points: int) -> Headline | None:
    points = max(max_points, min(SUM_POINTS, MAX_SUMMED // len(groups)))
    keys = {key_of(group) for group in groups}
    found = [
        one
        for one in run_series.series(run, metric_type=groups[0].metric_type, field=field, max_points=points)
        if (one.metric_type, one.source, one.row) in keys
    ]
    if not found:
        return None
    total = summed(found, max_points=max_points)
    return Headline(total, max(total.max), tuple(sorted({one.source for one in found})))


def summed(series: Sequence[SeriesColumns], *, max_points: int) -> SeriesColumns:
    """Return the sum of series with the same buckets as one series, whose buckets are widened to `max_points`.

    Its source is empty. Minimum and maximum are those of the sums, of the means in the narrow buckets.
    """
    totals: dict[int, float] = {}
    for one in series:
        for bucket, value in held(one.buckets, one.mean):
            totals[bucket] = totals.get(bucket, 0.0) + value
    first, last = min(totals), max(totals)
    factor = math.ceil((last - first + 1) / max_points)
    wide: dict[int, list[float]] = {}
    for bucket in sorted(totals):
        wide.setdefault(bucket // factor, []).append(totals[bucket])
    like = series[0]
    return SeriesColumns(
        metric_type=like.metric_type,
        source="",
        row=None,
        field=like.field,
        starts_at=like.starts_at,
        bucket_seconds=like.bucket_seconds * factor,
        buckets=list(wide),
        min=[min(values) for values in wide.values()],
        max=[max(values) for values in wide.values()],
        mean=[sum(values) / len(values) for values in wide.values()],
        last=[values[-1] for values in wide.values()],
        count=[len(values) for values in wide.values()],
    )


def held(buckets: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    """Return buckets and their values, each value also for the buckets up to the next report."""
    distances = [after - before for before, after in pairwise(buckets)]
    longest = HELD_DISTANCES * median(distances or [1])
    found: list[tuple[int, float]] = []
    for index, (bucket, value) in enumerate(zip(buckets, values, strict=True)):
        distance = distances[index] if index < len(distances) else 1
        found += [(bucket + step, value) for step in range(distance if distance <= longest else 1)]
    return found
