"""What the pages say of a run: lengths and numbers as texts, a picture of its load, its series, what it lacks.

What takes many chunks to find out is kept in the cache: for long once a run is recorded whole, for seconds while it
grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.core.cache import cache
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from metrics_stream.conf import get_settings
from metrics_stream.core.formatting import NO_VALUE, format_duration, format_number
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.models import TestRun
from metrics_stream.runs import series as run_series
from metrics_stream.views import sparkline
from metrics_stream.views.page_config import describe_field

# What stands for the load of a run, the best first. A run without them shows another series.
LOAD_FIELDS = (
    ("system", "throughput_tps"),
    ("business", "transactions_per_second"),
    ("hero", "transactions_per_second"),
)
PICTURE_POINTS = 120

# What the recorder calls a loss, in words.
REASONS = {
    "history": "The recorder was away for longer than the history keeps metrics.",
    "epoch": "The history was lost and began anew.",
}

# A page of more is slow to read for people and browsers; the export has all.
MOST_GROUPS = 100
MOST_HOLES = 20

_KEPT_SECONDS = 86_400
_KEPT_SECONDS_WHILE_GROWING = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """A sparkline of one series, with words."""

    line: str
    band: str
    peak: str
    label: str
    is_load: bool

    width = sparkline.WIDTH
    height = sparkline.HEIGHT


@dataclass(frozen=True, slots=True)
class Facts:
    """A run, and what is said of it in the list and at the head of its page."""

    run: TestRun
    duration: str
    target: str
    metrics: str
    lost: str
    picture: Picture | None

    @property
    def is_growing(self) -> bool:
        """Whether a moment later there may be more to say."""
        return self.run.started_at is not None and self.run.recording_ended_at is None


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """What one field of a group was, as texts."""

    label: str
    path: str
    count: str
    least: str
    mean: str
    percentile: str
    is_worst: bool
    most: str
    last: str


@dataclass(frozen=True, slots=True)
class Group:
    """The series of one metric type, source and agent."""

    slug: str
    metric_type: str
    source: str
    agent_id: str
    rows: list[SeriesRow]

    @property
    def has_percentiles(self) -> bool:
        """Whether any of them is a percentile."""
        return any(row.percentile != NO_VALUE for row in self.rows)

    @property
    def has_worst(self) -> bool:
        """Whether of some percentile only the worst is known."""
        return any(row.is_worst for row in self.rows)


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of a run that is known to be missing."""

    at: datetime | None
    metric_type: str
    count: str
    reason: str


def facts(run: TestRun, permit: Permit) -> Facts:
    """Return what is said of a run to who may see so much of it."""
    duration = None
    if run.started_at is not None:
        duration = ((run.ended_at or timezone.now()) - run.started_at).total_seconds()
    return Facts(
        run=run,
        duration=format_duration(duration),
        target=format_number(run.target_tps, "tps"),
        metrics=f"{run.metrics_recorded:,}",
        lost=lost_text(run),
        picture=_remembered(run, "picture", permit, lambda: _picture(run, permit)) if run.metrics_recorded else None,
    )


def lost_text(run: TestRun) -> str:
    """Return how many metrics are missing, as far as anybody knows."""
    counts = [hole.get("count") for hole in run.lost]
    known = sum(count for count in counts if count)
    if None not in counts:
        return f"{known:,}" if known else NO_VALUE
    return f"at least {known:,}" if known else "unknown"


def holes(run: TestRun) -> list[Hole]:
    """Return the parts of a run that are known to be missing, the earliest first."""
    types = get_settings().catalogue().types
    found = []
    for hole in run.lost:
        slug, count = str(hole.get("metric_type", "")), hole.get("count")
        label = types[slug].label if slug in types else slug
        many = "an unknown number of metrics" if count is None else f"{count:,} metric{'s' if count != 1 else ''}"
        reason = str(hole.get("reason", ""))
        found.append(Hole(parse_datetime(str(hole.get("at"))), label, many, REASONS.get(reason, reason)))
    return found


def _remembered(run: TestRun, what: str, permit: Permit, find: Callable[[], Any]) -> Any:
    if permit != EVERYTHING:
        # Sets have no order that is the same in every process, so who may see less has no key to be remembered by.
        return find()
    if run.recording_ended_at is None:
        return cache.get_or_set(f"metrics_stream.{what}.{run.slug}", find, _KEPT_SECONDS_WHILE_GROWING)
    return cache.get_or_set(f"metrics_stream.{what}.{run.slug}.{run.metrics_recorded}", find, _KEPT_SECONDS)


# --- the picture of its load ---


def _picture(run: TestRun, permit: Permit) -> Picture | None:
    catalogue = get_settings().catalogue()
    preferred = (*LOAD_FIELDS, *_known_fields(catalogue))
    series = run_series.overviews([run], preferred=preferred, max_points=PICTURE_POINTS, permit=permit).get(run.pk)
    if series is None:
        return None
    drawn = sparkline.draw(series, *_span(run, series))
    described = describe_field(catalogue, series.metric_type, series.field)
    return Picture(
        line=drawn.line,
        band=drawn.band,
        peak=format_number(drawn.peak, described["unit"]),
        label=described["label"],
        is_load=(series.metric_type, series.field) in LOAD_FIELDS,
    )


def _known_fields(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Return the fields of the catalogue; rates come first, since of all kinds they tell most in a small picture."""
    known = [(item.slug, field) for item in catalogue.types.values() for field in item.fields]
    return [(slug, field.name) for slug, field in sorted(known, key=lambda entry: entry[1].kind != "rate")]


def _span(run: TestRun, series: SeriesColumns) -> tuple[float, float]:
    """Return the time that a picture shows: from the start to the end, or as far as it has got."""
    first = series.starts_at + series.buckets[0] * series.bucket_seconds
    last = series.starts_at + (series.buckets[-1] + 1) * series.bucket_seconds
    since = run.started_at.timestamp() if run.started_at else first
    return since, run.ended_at.timestamp() if run.ended_at else last


# --- its series ---


def groups(run: TestRun, permit: Permit) -> list[Group]:
    """Return the series of a run that may be seen, by metric type, source and agent, in the order of the catalogue."""
    found: list[Group] = _remembered(run, "summary", permit, lambda: _groups(run, permit))
    return found


def _groups(run: TestRun, permit: Permit) -> list[Group]:
    catalogue = get_settings().catalogue()
    order = {slug: place for place, slug in enumerate(catalogue.slugs)}

    def place(row: run_series.SeriesSummary) -> tuple[int, str, str, str]:
        return (order.get(row.metric_type, len(order)), row.metric_type, row.source, row.agent_id or "")

    seen = [
        row for row in run_series.summary(run) if permit.shows(row.metric_type, row.source, row.agent_id, row.field)
    ]
    found = []
    for (_, slug, source, agent_id), rows in groupby(sorted(seen, key=place), place):
        known = catalogue.types.get(slug)
        label = known.label if known else slug
        found.append(Group(slug, label, source, agent_id, [_series_row(catalogue, row) for row in rows]))
    return found


def _series_row(catalogue: Catalogue, row: run_series.SeriesSummary) -> SeriesRow:
    described = describe_field(catalogue, row.metric_type, row.field)
    unit = described["unit"]
    return SeriesRow(
        label=described["label"],
        path=row.field,
        count=f"{row.count:,}",
        least=format_number(row.min, unit),
        mean=format_number(row.mean, unit),
        percentile=format_number(row.percentile, unit),
        is_worst=row.is_worst,
        most=format_number(row.max, unit),
        last=format_number(row.last, unit),
    )
