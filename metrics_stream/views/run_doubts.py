"""What makes the figures of a run doubtful, as texts: when, for how long, and why."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from metrics_stream.core.formatting import format_duration, format_number
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.series.columns import SeriesColumns, permitted_series
from metrics_stream.core.validity import FIELDS, METRIC_TYPE, RULES, SILENT_SECONDS, Doubt, Judge
from metrics_stream.models import TestRun
from metrics_stream.runs import series as run_series
from metrics_stream.views.run_facts import remembered

# An hour has buckets of five seconds, which is as long as the shortest rule looks.
MAX_POINTS = 720
MOST_DOUBTS = 20

_COUNTERS = frozenset(rule.field for rule in RULES if rule.comparison == "rises")


@dataclass(frozen=True, slots=True)
class DoubtRow:
    """One time in which the figures are doubtful."""

    at: datetime
    duration: str
    words: str


def doubts(run: TestRun, permit: Permit) -> list[DoubtRow]:
    """Return the doubts about a run, as far as `permit` shows the fields that say so, the earliest first."""
    found: list[DoubtRow] = remembered(run, "doubts", permit, lambda: [_row(item) for item in _judge(run, permit)])
    return found


def _judge(run: TestRun, permit: Permit) -> list[Doubt]:
    series = run_series.series(run, metric_type=METRIC_TYPE, fields=FIELDS, max_points=MAX_POINTS)
    by_source: dict[str, list[SeriesColumns]] = defaultdict(list)
    for item in permitted_series(series, permit):
        by_source[item.source].append(item)
    found: list[Doubt] = []
    for source, columns in by_source.items():
        found += _judge_source(source, columns)
    return sorted(found, key=lambda doubt: doubt.began_at)


def _judge_source(source: str, columns: list[SeriesColumns]) -> list[Doubt]:
    seconds = columns[0].bucket_seconds
    judge = Judge(silent_seconds=max(SILENT_SECONDS, 3 * seconds))
    buckets: dict[float, dict[str, Any]] = defaultdict(dict)
    for item in columns:
        # The mean of a bucket, so that one second at the limit does not stand for minutes.
        values = item.last if item.field in _COUNTERS else item.mean
        for bucket, value in zip(item.buckets, values, strict=True):
            buckets[item.starts_at + bucket * item.bucket_seconds][item.field] = value
    for at in sorted(buckets):
        # What is true of a bucket is true from its start to its end.
        judge.observe(source, at, buckets[at])
        judge.observe(source, at + seconds, buckets[at])
    return judge.all()


def _row(doubt: Doubt) -> DoubtRow:
    rule = doubt.rule
    words = rule.past.format(source=doubt.source, value=format_number(doubt.value, rule.unit))
    return DoubtRow(
        datetime.fromtimestamp(doubt.began_at, UTC),
        format_duration(max(1.0, doubt.ended_at - doubt.began_at)),
        words[:1].upper() + words[1:],
    )
