"""The totals of a run, or of a span of it, as pages and files show them.

The span comes from the address: `?from=…&to=…`, each an instant as `core/instants.py` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_viewers
from metrics_stream.access.grants import access_of
from metrics_stream.audit.trail import Action, address_of, note
from metrics_stream.core.errors import SpanError
from metrics_stream.core.formatting import NO_VALUE, format_duration, format_number, format_timestamp, quote
from metrics_stream.core.instants import read_instant
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import TestRun
from metrics_stream.runs import series as run_series
from metrics_stream.runs.totals import RunTotals, totals
from metrics_stream.views.dashboards import page_cache
from metrics_stream.views.run_lookup import find_run

RANK_RULE = (
    "A percentile is the value with the index floor(share * count) among all sorted response times, as in Locust, "
    "within 1 %."
)


@dataclass(frozen=True, slots=True)
class AskedSpan:
    """The span in the address, in seconds since 1970; None at an end means that of the run."""

    since: float | None = None
    until: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the address names no span."""
        return self.since is None and self.until is None


def read_span(request: HttpRequest) -> AskedSpan:
    """Return the span that an address names; raise SpanError."""
    since, until = _read_instant(request, "from"), _read_instant(request, "to")
    if since is not None and until is not None and since >= until:
        raise SpanError("`from` is not before `to`")
    return AskedSpan(since, until)


def _read_instant(request: HttpRequest, key: str) -> float | None:
    given = request.GET.get(key, "").strip()
    if not given:
        return None
    if "T" in given:
        given = given.replace(" ", "+")  # the sign of a time zone, not escaped in the address
    try:
        return read_instant(given)
    except ValueError as error:
        raise SpanError(
            f"`{key}` is {quote(given)}; allowed: ISO 8601 such as 2026-01-31T12:00:00Z, or seconds or milliseconds "
            "since 1970"
        ) from error


@dataclass(frozen=True, slots=True)
class TotalsTexts:
    """The totals as texts: a label and a value each; `sources` are those whose requests are counted."""

    rows: list[tuple[str, str]]
    sources: list[str]
    has_percentiles: bool
    bounds: tuple[datetime, datetime]


def describe(found: RunTotals | None) -> TotalsTexts | None:
    """Return the totals as texts; None if nothing is known of requests, response times and users."""
    if found is None:
        return None
    names = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p999": "p99.9"}
    values = [
        ("Requests", found.requests, "count"),
        ("Failures", found.failures, "count"),
        ("Failed", found.error_rate, "ratio"),
        ("Overall rate", found.rate, "tps"),
        ("Average response", found.mean_ms, "ms"),
        *((f"Response {names[name]}", value, "ms") for name, value in found.percentiles.items()),
        ("Slowest response", found.max_ms, "ms"),
        ("Most users", found.peak_users, "count"),
    ]
    rows = [(label, format_number(value, unit)) for label, value, unit in values if value is not None]
    if not rows:
        return None
    if found.seconds is not None:
        rows.append(("Counted in", format_duration(found.seconds)))
    return TotalsTexts(
        rows=[row for row in rows if row[1] != NO_VALUE],
        sources=found.sources,
        has_percentiles=found.measured is not None,
        bounds=(datetime.fromtimestamp(found.since, UTC), datetime.fromtimestamp(found.until, UTC)),
    )


def find_totals(run: TestRun, permit: Permit, span: AskedSpan) -> RunTotals | None:
    """Return the totals of what a permit shows of a span."""
    return totals(run, permit=permit, since=span.since, until=span.until)


@require_safe
@page_cache
@for_viewers
def summary_file(request: HttpRequest, slug: str) -> JsonResponse:
    """Return the totals and the summary of the series of a run, or of a span of it, as JSON."""
    access = access_of(request)
    run = find_run(access, slug)
    try:
        span = read_span(request)
    except SpanError as error:
        return JsonResponse({"error": "invalid_span", "message": str(error)}, status=400)
    note(Action.EXPORT, access.who, f"{run.slug}.summary.json", address=address_of(request))
    found = find_totals(run, access.permit, span)
    rows = [
        row
        for row in run_series.summary(run, since=span.since, until=span.until)
        if access.permit.shows(row.metric_type, row.source, row.row, row.field)
    ]
    content = {
        "run": run.slug,
        "from": None if found is None else format_timestamp(found.since),
        "until": None if found is None else format_timestamp(found.until),
        "rule": RANK_RULE,
        "totals": _without_span(found),
        "series": msgspec.to_builtins(rows),
    }
    return JsonResponse(content)


def _without_span(found: RunTotals | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {name: value for name, value in msgspec.to_builtins(found).items() if name not in {"since", "until"}}
