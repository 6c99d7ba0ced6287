"""The facts that pages show about a run: durations and numbers as texts, a picture of its load, series, losses.

Facts that need many chunks are cached: for a day once the run is recorded completely, for seconds while it grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import groupby
from typing import Any

from django.core.cache import cache
from django.utils.dateparse import parse_datetime

from metrics_stream.access.run_lookup import is_whole
from metrics_stream.conf import get_settings
from metrics_stream.core.formatting import NO_VALUE, format_duration, format_number
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.keys import label_row
from metrics_stream.core.metrics.labels import label_of
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.models import TestRun
from metrics_stream.runs import headline as run_headline
from metrics_stream.runs import series as run_series
from metrics_stream.runs.clock import database_now
from metrics_stream.runs.counts import Counted, count_visible
from metrics_stream.runs.lifecycle import make_test
from metrics_stream.views import sparkline
from metrics_stream.views.page_config import describe_field

# The fields that represent the load of a run, the best first. A run without them shows another series.
LOAD_FIELDS = (
    ("system", "throughput_tps"),
    ("business", "transactions_per_second"),
    ("hero", "transactions_per_second"),
)
PICTURE_POINTS = 120

# The recorder's reasons of a loss, as texts.
REASONS = {
    "history": "The recorder was away for longer than the history keeps metrics.",
    "epoch": "Redis was restarted empty, or the server that held the history in its memory ended.",
}

# A longer page is slow to read for people and browsers; the export has everything.
MOST_GROUPS = 100
MOST_HOLES = 20

_KEPT_SECONDS = 86_400
_KEPT_SECONDS_WHILE_GROWING = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """A sparkline of one series, with its texts, between two instants in seconds since 1970.

    `whose` says of which sources it is: "over 2 sources", "from gen-a". `is_one_of_many` says that a reader cannot know
    that without being told.
    """

    line: str
    band: str
    peak: str
    label: str
    is_load: bool
    whose: str
    is_one_of_many: bool
    since: float
    until: float

    width = sparkline.WIDTH
    height = sparkline.HEIGHT


@dataclass(frozen=True, slots=True)
class Facts:
    """A run with the texts for the list and for the head of its page."""

    run: TestRun
    sources: list[str]
    """Those of its sources of which something is visible; empty also if metrics of every source belong to it."""
    duration: str
    target: str
    metrics: str
    lost: str
    picture: Picture | None
    shows_test: bool
    """Whether its test says more than its name."""

    @property
    def has_losses(self) -> bool:
        """Whether metrics are missing of which the viewer may know."""
        return self.lost != NO_VALUE

    @property
    def is_growing(self) -> bool:
        """Whether the facts may still change."""
        return self.run.started_at is not None and self.run.recording_ended_at is None


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """The summary of one field, as texts."""

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
    """The series of one metric type, source and row."""

    slug: str
    metric_type: str
    source: str
    row: str
    """As people read it, empty for none."""
    rows: list[SeriesRow]

    @property
    def has_percentiles(self) -> bool:
        """Whether any field is a percentile."""
        return any(row.percentile != NO_VALUE for row in self.rows)

    @property
    def has_worst(self) -> bool:
        """Whether only the worst value of a percentile is known."""
        return any(row.is_worst for row in self.rows)


@dataclass(frozen=True, slots=True)
class Hole:
    """A known loss of metrics in a run."""

    at: datetime | None
    metric_type: str
    count: str
    reason: str


def facts(run: TestRun, permit: Permit) -> Facts:
    """Return the facts of a run, of the part that `permit` allows."""
    duration = None
    if run.started_at is not None:
        duration = ((run.ended_at or database_now()) - run.started_at).total_seconds()
    return Facts(
        run=run,
        sources=permit.visible_sources(map(str, run.sources)),
        duration=format_duration(duration),
        target=format_number(run.target_tps, "tps"),
        metrics=metrics_text(run, permit),
        lost=lost_text(visible_losses(run, permit)),
        picture=remembered(run, "headline", permit, lambda: _picture(run, permit)) if run.metrics_recorded else None,
        shows_test=bool(run.test) and run.test != make_test(run.name),
    )


def metrics_text(run: TestRun, permit: Permit) -> str:
    """Return the number of recorded metrics of which something is visible; none once the metrics are not kept."""
    if permit.grants is None:
        return f"{run.metrics_recorded:,}"
    if not run.metrics_recorded or not is_whole(run):
        return NO_VALUE if run.metrics_recorded else "0"
    key = _cache_key(run, "count", permit)
    counted = count_visible(run, permit, cache.get(key) or Counted())
    cache.set(key, counted, _KEPT_SECONDS)
    return f"{counted.all:,}"


def visible_losses(run: TestRun, permit: Permit) -> list[dict[str, Any]]:
    """Return the losses of visible metric types; their counts are unknown where some metrics of the type are hidden."""
    if permit.grants is None:
        return list(run.lost)
    types = permit.metric_types(get_settings().catalogue().slugs)
    return [
        hole if permit.is_whole(hole["metric_type"]) else {**hole, "count": None}
        for hole in run.lost
        if hole.get("metric_type") in types
    ]


def lost_text(losses: list[dict[str, Any]]) -> str:
    """Return the number of missing metrics, as far as it is known."""
    counts = [hole.get("count") for hole in losses]
    known = sum(count for count in counts if count)
    if None not in counts:
        return f"{known:,}" if known else NO_VALUE
    return f"at least {known:,}" if known else "unknown"


def holes(run: TestRun, permit: Permit) -> list[Hole]:
    """Return the known losses of visible metric types in a run, the earliest first."""
    types = get_settings().catalogue().types
    found = []
    for hole in visible_losses(run, permit):
        slug, count = str(hole.get("metric_type", "")), hole.get("count")
        label = types[slug].label if slug in types else slug
        many = "an unknown number of metrics" if count is None else f"{count:,} metric{'s' if count != 1 else ''}"
        reason = str(hole.get("reason", ""))
        found.append(Hole(parse_datetime(str(hole.get("at"))), label, many, REASONS.get(reason, reason)))
    return found


def left_out(run: TestRun, permit: Permit) -> list[str]:
    """Return the labels of metric types of which some visible series are not kept, because there are too many."""
    types = get_settings().catalogue().types
    seen = {slug: None for slug, source in run.series_left_out if permit.covers(slug, source)}
    return [types[slug].label if slug in types else slug for slug in seen]


def remembered(run: TestRun, what: str, permit: Permit, find: Callable[[], Any]) -> Any:
    """Return what `find` returns, or what it returned for the same run and permit before; `what` names it."""
    key = _cache_key(run, what, permit)
    if run.recording_ended_at is None:
        return cache.get_or_set(key, find, _KEPT_SECONDS_WHILE_GROWING)
    return cache.get_or_set(f"{key}.{run.metrics_recorded}", find, _KEPT_SECONDS)


def _cache_key(run: TestRun, what: str, permit: Permit) -> str:
    """Return a key that is the same in all processes; the order of sets differs between them."""
    if permit.grants is None:
        return f"metrics_stream.{what}.{run.slug}"
    grants = sorted(
        [
            *(sorted(terms) for terms in (grant.metric_types, grant.sources, grant.fields)),
            sorted(term.sorted for term in grant.terms),
        ]
        for grant in permit.grants
    )
    return f"metrics_stream.{what}.{run.slug}.{blake2b(repr(grants).encode(), digest_size=16).hexdigest()}"


# --- the picture of its load ---


def _picture(run: TestRun, permit: Permit) -> Picture | None:
    catalogue = get_settings().catalogue()
    preferred = _known_fields(catalogue)
    found = run_headline.headline(run, rates=LOAD_FIELDS, preferred=preferred, max_points=PICTURE_POINTS, permit=permit)
    if found is None:
        return None
    series, sources = found.series, found.sources
    since, until = _span(run, series)
    drawn = sparkline.draw(series, since, until)
    described = describe_field(catalogue, series.metric_type, series.field)
    return Picture(
        line=drawn.line,
        band=drawn.band,
        peak=format_number(found.peak, series.unit or described["unit"]),
        label=described["label"],
        is_load=(series.metric_type, series.field) in LOAD_FIELDS,
        whose=f"over {len(sources):,} sources" if len(sources) > 1 else f"from {sources[0]}",
        is_one_of_many=len(sources) > 1 or found.others > 0,
        since=since,
        until=until,
    )


def _known_fields(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Return the fields of the catalogue; rates come first, because they say most in a small picture."""
    known = [(item.slug, field) for item in catalogue.types.values() for field in item.fields]
    return [(slug, field.name) for slug, field in sorted(known, key=lambda entry: entry[1].kind != "rate")]


def _span(run: TestRun, series: SeriesColumns) -> tuple[float, float]:
    """Return the time range of a picture: from the start to the end of the run, or to its newest bucket."""
    first = series.starts_at + series.buckets[0] * series.bucket_seconds
    last = series.starts_at + (series.buckets[-1] + 1) * series.bucket_seconds
    since = run.started_at.timestamp() if run.started_at else first
    return since, run.ended_at.timestamp() if run.ended_at else last


# --- its series ---


def groups(run: TestRun, permit: Permit) -> list[Group]:
    """Return the permitted series of a run, by metric type, source and row, in the order of the catalogue."""
    found: list[Group] = remembered(run, "summary", permit, lambda: _groups(run, permit))
    return found


def _groups(run: TestRun, permit: Permit) -> list[Group]:
    catalogue = get_settings().catalogue()
    order = {slug: place for place, slug in enumerate(catalogue.slugs)}

    def place(row: run_series.SeriesSummary) -> tuple[int, str, str, str]:
        return (order.get(row.metric_type, len(order)), row.metric_type, row.source, row.row or "")

    seen = [row for row in run_series.summary(run) if permit.shows(row.metric_type, row.source, row.row, row.field)]
    found = []
    for (_, slug, source, row), rows in groupby(sorted(seen, key=place), place):
        known = catalogue.types.get(slug)
        label = known.label if known else slug
        found.append(Group(slug, label, source, label_row(row), [_series_row(catalogue, one) for one in rows]))
    return found


def _series_row(catalogue: Catalogue, row: run_series.SeriesSummary) -> SeriesRow:
    described = describe_field(catalogue, row.metric_type, row.field)
    unit = row.unit or described["unit"]
    is_stated = row.unit is not None and not described["unit"]
    return SeriesRow(
        label=label_of(row.field, row.unit or "") if is_stated else described["label"],
        path=row.field,
        count=f"{row.count:,}",
        least=format_number(row.min, unit),
        mean=format_number(row.mean, unit),
        percentile=format_number(row.percentile, unit),
        is_worst=row.is_worst,
        most=format_number(row.max, unit),
        last=format_number(row.last, unit),
    )
