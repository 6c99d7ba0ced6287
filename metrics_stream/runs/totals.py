"""The totals of a test run, or of a span of it: requests, failures, rate, response times of everything, peak users."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from metrics_stream.core.metrics.catalogue import REQUEST, SYSTEM
from metrics_stream.core.metrics.permission import EVERYTHING, Permit
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.core.metrics.summaries import SKETCHES
from metrics_stream.core.series.columns import SeriesKey
from metrics_stream.core.series.counters import (
    AVERAGE,
    ELAPSED,
    FAILURES,
    OCCURRENCES,
    RECEIVED_BYTES,
    REQUESTS,
    RESPONSE_TIMES,
    SUCCESSES,
    Counts,
    Origin,
    Span,
)
from metrics_stream.core.series.packing import Unpacked
from metrics_stream.core.series.row_book import (
    ERROR_RATES,
    MAXIMUM,
    MINIMUM,
    ROW_TYPES,
    SKETCH,
    THROUGHPUTS,
    RowBook,
)
from metrics_stream.core.series.sketch_columns import SketchColumns
from metrics_stream.models import RowTotals, SeriesGroup, TestRun
from metrics_stream.runs.headline import held
from metrics_stream.runs.open_run import key_of
from metrics_stream.runs.parts import Wanted, choose_tier, load_parts
from metrics_stream.runs.span import RunSpan, find_span
from metrics_stream.runs.tiers import FINEST

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p999": 0.999}
_USERS = ("users", "vus", "active_users", "concurrent_users", "user_count")
_WANTED = (
    *(*REQUESTS, *FAILURES, *SUCCESSES, *RESPONSE_TIMES, *ELAPSED, *_USERS, *THROUGHPUTS, *ERROR_RATES),
    *(MAXIMUM, MINIMUM, AVERAGE, *RECEIVED_BYTES, *OCCURRENCES),
)

# A span is read in the finest tier up to this many seconds: its ends are then exact to a second.
_FINE_SECONDS = 7_200

# Of many keys, fewer buckets are read: so many of all keys together.
_MAX_BUCKETS = 40_000


NO_ORIGINS: Mapping[str, Origin] = {}


class RunTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a span between two instants in seconds since 1970; what is unknown is None.

    `sources` are those whose requests are counted. `seconds` is the time that their counts cover: the longest of them.
    Times are in milliseconds. `percentiles` are those of all response times in the span, within 1 %, by `PERCENTILES`;
    None if a metric came without a sketch. `measured` is the number of response times in them.
    """

    since: float
    until: float
    metric_type: str | None = None
    sources: list[str] = []
    requests: float | None = None
    failures: float | None = None
    error_rate: float | None = None
    rate: float | None = None
    seconds: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    percentiles: dict[str, float | None] = {}
    measured: int | None = None
    received_bytes: float | None = None
    peak_users: float | None = None


def totals(
    run: TestRun, *, permit: Permit = EVERYTHING, since: float | None = None, until: float | None = None
) -> RunTotals | None:
    """Return the totals of what a permit shows of a run, or of a span of it; None if nothing was recorded in it."""
    span = find_span(run, since, until)
    if span is None:
        return None
    shown = load(run, span, permit)
    if chosen := _choose_keys(shown.parts):
        return sum_up({key: shown.parts[key] for key in chosen}, shown.parts, span, shown.span)
    # A producer may say nothing but its requests by name.
    rows = load_rows(run, span, permit, types=(REQUEST.slug,))
    return sum_up(rows.parts, shown.parts | rows.parts, span, rows.span, origins=origins_of(rows, shown))


class Shown(NamedTuple):
    """What a permit shows of some series groups of a run, and their span in buckets."""

    parts: dict[SeriesKey, Unpacked]
    span: Span


def load(run: TestRun, span: RunSpan, permit: Permit) -> Shown:
    """Return what totals are made of: the counts, times and sketches of everything but the rows of tables."""
    return _load(run, span, permit, SeriesGroup.objects.filter(run=run).exclude(metric_type__in=ROW_TYPES))


def load_rows(run: TestRun, span: RunSpan, permit: Permit, types: Collection[str]) -> Shown:
    """Return the same of the rows of tables, of which there may be too many to keep the course of each over time.

    The totals of the whole run are those of every row, those of a part of it of the rows whose course is kept.
    """
    if not span.is_whole:
        return _load(run, span, permit, SeriesGroup.objects.filter(run=run, metric_type__in=types))
    shown: dict[SeriesKey, Unpacked] = {}
    stored = RowTotals.objects.filter(run=run, metric_type__in=types)
    for metric_type, source, payload in stored.values_list("metric_type", "source", "payload"):
        if permit.covers(metric_type, source):
            for row, part in RowBook(payload).unpacked(FINEST):
                key = SeriesKey(metric_type, source, row)
                shown[key] = _permitted(key, part, permit)
    return Shown(shown, span.in_buckets(FINEST))


def _load(run: TestRun, span: RunSpan, permit: Permit, found: Iterable[SeriesGroup]) -> Shown:
    groups = {group.pk: group for group in found if _has_wanted(group, permit)}
    points = min(_FINE_SECONDS // 10, _MAX_BUCKETS // max(1, len(groups)))
    tier = choose_tier(groups.keys(), span.until - span.since, points)
    wanted = Wanted(groups.keys(), span.reads_from, span.until, (), run.tiers_until)
    parts = load_parts(wanted, tier)
    shown = {key_of(groups[pk]): _permitted(key_of(groups[pk]), part, permit) for pk, part in parts.items()}
    return Shown(shown, span.in_buckets(tier))


def origins_of(rows: Shown, whole: Shown) -> dict[str, Origin]:
    """Return what the rows of each source have in common; `whole` are the sources themselves.

    What a source says of itself tells whether its rows were counted before the run: a single row may count so seldom
    that nobody knows. Where it says nothing, most of what was counted decides.
    """
    of_rows: defaultdict[str, list[Counts]] = defaultdict(list)
    of_requests: defaultdict[str, list[Counts]] = defaultdict(list)
    for key, part in rows.parts.items():
        counts = Counts(part.columns, rows.span, counter=(*REQUESTS, *OCCURRENCES))
        if counts.bounds is not None:
            of_rows[key.source].append(counts)
            if key.metric_type == REQUEST.slug:
                of_requests[key.source].append(counts)
    of_source = {key.source: Counts(part.columns, whole.span) for key, part in whole.parts.items() if key.row is None}
    return {
        # An error that occurs once does not tell when.
        source: _find_origin(found, of_requests[source] or found, of_source.get(source), rows.span)
        for source, found in of_rows.items()
    }


def _find_origin(rows: list[Counts], voters: list[Counts], whole: Counts | None, span: Span) -> Origin:
    bounds = [one.bounds for one in rows if one.bounds is not None]
    first, last = min(begin for begin, _ in bounds), max(end for _, end in bounds)
    if whole is not None and whole.bounds is not None:
        return Origin(first, whole.are_from_zero, whole.seconds, whole.states_seconds)
    votes = sum(one.first_value * (1 if one.are_from_zero else -1) for one in voters)
    seconds = span.seconds_between(max(first, span.first), min(last, span.end - 1))
    return Origin(first, votes >= 0, seconds if seconds > 0 else None, is_exact=False)


def _has_wanted(group: SeriesGroup, permit: Permit) -> bool:
    names = {field.rpartition(".")[2] for field in group.fields}
    return permit.covers(group.metric_type, group.source) and not names.isdisjoint(_WANTED)


def _permitted(key: SeriesKey, part: Unpacked, permit: Permit) -> Unpacked:
    if permit.grants is None:
        return part
    columns = {field: column for field, column in part.columns.items() if permit.shows(*key, field)}
    sees_sketches = any(
        permit.shows(*key, field) for field in (SKETCHES, *(f"{name}_{SKETCH}" for name in PERCENTILES))
    )
    return Unpacked(columns, part.sketches if sees_sketches else SketchColumns())


def _choose_keys(shown: Mapping[SeriesKey, Unpacked]) -> list[SeriesKey]:
    """Return the keys whose requests are counted: of one metric type, those without agents before those with.

    A test says the same in several types: a system and its agents, for example. The name that comes first in REQUESTS
    decides, so that nothing is counted twice.
    """
    for name in (*REQUESTS, *THROUGHPUTS):
        for of_agents in (False, True):
            holding = [
                key for key, part in shown.items() if name in part.columns and (key.row is not None) is of_agents
            ]
            if holding:
                types = [key.metric_type for key in holding]
                chosen = SYSTEM.slug if SYSTEM.slug in types else types[0]
                return [key for key in holding if key.metric_type == chosen]
    return []


def sum_up(
    chosen: Mapping[SeriesKey, Unpacked],
    shown: Mapping[SeriesKey, Unpacked],
    of_run: RunSpan,
    span: Span,
    *,
    origins: Mapping[str, Origin] = NO_ORIGINS,
) -> RunTotals:
    """Return the totals of some keys; `shown` are those that may say how many users there were.

    `origins` are those of rows, by source.
    """
    counts = [Counts(part.columns, span, origin=origins.get(key.source)) for key, part in chosen.items()]
    requests, failures = _total(item.requests for item in counts), _total(item.failures for item in counts)
    seconds = max((item.seconds or 0.0 for item in counts), default=0.0) or None
    sketch, is_complete = _merge(chosen.values(), span)
    highest = _highest(chosen.values(), span)
    if len(sketch) and is_complete and (not of_run.is_whole or highest is None):
        # A maximum that counts since the start of the test says nothing about a later span.
        highest = sketch.quantile(1.0)
    return RunTotals(
        since=of_run.since,
        until=of_run.until,
        metric_type=next(iter(chosen)).metric_type if chosen else None,
        sources=sorted({key.source for key in chosen}),
        requests=requests,
        failures=failures,
        error_rate=_error_rate(requests, failures, chosen.values(), span),
        rate=_rate(counts, chosen.values(), span),
        seconds=seconds,
        mean_ms=_mean(counts),
        min_ms=_lowest(chosen.values(), span),
        max_ms=highest,
        percentiles={
            name: sketch.quantile(share) if len(sketch) and is_complete else None for name, share in PERCENTILES.items()
        },
        measured=len(sketch) if len(sketch) and is_complete else None,
        received_bytes=_total(item.received_bytes for item in counts),
        peak_users=_peak_users(chosen, shown, span),
    )


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _error_rate(requests: float | None, failures: float | None, parts: Iterable[Unpacked], span: Span) -> float | None:
    if requests and failures is not None:
        return failures / requests
    known = [mean for part in parts if (mean := _mean_of(ERROR_RATES, part, span)) is not None]
    return sum(known) / len(known) if known else None


def _rate(counts: Sequence[Counts], parts: Iterable[Unpacked], span: Span) -> float | None:
    rates = [item.rate() for item in counts]
    if any(rate is not None for rate in rates):
        return _total(rates)
    return _total(_mean_of(THROUGHPUTS, part, span) for part in parts)


def _mean(counts: Sequence[Counts]) -> float | None:
    weighted = [
        (mean, requests) for item in counts if (mean := item.mean(AVERAGE)) is not None and (requests := item.requests)
    ]
    weight = sum(requests for _, requests in weighted)
    return sum(mean * requests for mean, requests in weighted) / weight if weight else None


def _mean_of(names: Sequence[str], part: Unpacked, span: Span) -> float | None:
    """Return the mean over time of the first of some fields that a part has, where there are no counts."""
    for name in names:
        if (column := part.columns.get(name)) is not None:
            found = column.between(span.first, span.end)
            if found.buckets:
                return sum(found.totals) / sum(found.counts)
    return None


def _highest(parts: Iterable[Unpacked], span: Span) -> float | None:
    found = [
        max(column.highs)
        for part in parts
        if (whole := part.columns.get(MAXIMUM)) is not None and (column := whole.between(span.first, span.end)).buckets
    ]
    return max(found, default=None)


def _lowest(parts: Iterable[Unpacked], span: Span) -> float | None:
    found = [
        min(column.lows)
        for part in parts
        if (whole := part.columns.get(MINIMUM)) is not None and (column := whole.between(span.first, span.end)).buckets
    ]
    return min(found, default=None)


def _merge(parts: Iterable[Unpacked], span: Span) -> tuple[Sketch, bool]:
    """Return the merged sketch of a span, and whether all metrics with requests in it had one."""
    merged, is_complete = Sketch(), True
    for part in parts:
        with_sketch = 0
        for bucket, tally in part.sketches.tallies(SKETCH):
            if span.first <= bucket < span.end:
                merged.merge(tally.sketch)
                with_sketch += tally.metrics
        counter = next((part.columns[name] for name in (*REQUESTS, *THROUGHPUTS) if name in part.columns), None)
        published = 0 if counter is None else sum(counter.between(span.first, span.end).counts)
        is_complete = is_complete and with_sketch >= published
    return merged, is_complete


def _peak_users(chosen: Mapping[SeriesKey, Unpacked], shown: Mapping[SeriesKey, Unpacked], span: Span) -> float | None:
    """Return the most users at a time: their sum over the sources of requests, else over all that say them."""
    for parts in (chosen, shown):
        at: Counter[int] = Counter()
        for key, part in parts.items():
            if parts is shown and key.row is not None:
                continue
            column = next((part.columns[name] for name in _USERS if name in part.columns), None)
            if column is not None:
                found = column.between(span.first, span.end)
                at.update(dict(held(found.buckets, found.highs)))
        if at:
            return max(at.values())
    return None
