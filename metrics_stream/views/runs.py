"""The list of test runs, and the page of one run."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_viewers
from metrics_stream.access.grants import access_of, is_staff
from metrics_stream.access.run_lookup import find_run, is_whole, search
from metrics_stream.access.visibility import visible_dashboards
from metrics_stream.audit.trail import Action, address_of, note
from metrics_stream.core.errors import SpanError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.catalogue import ERROR, REQUEST
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import Dashboard, TestRun
from metrics_stream.runs import phases as run_phases
from metrics_stream.runs.clock import database_now
from metrics_stream.runs.lifecycle import OPEN
from metrics_stream.runs.row_tables import RowTables
from metrics_stream.runs.span import recorded_span
from metrics_stream.views.asked_span import AskedSpan, read_span
from metrics_stream.views.dashboards import page_cache
from metrics_stream.views.run_clocks import wrong_clocks
from metrics_stream.views.run_doubts import MOST_DOUBTS, doubts
from metrics_stream.views.run_facts import MOST_GROUPS, MOST_HOLES, facts, groups, holes, left_out, remembered
from metrics_stream.views.run_tables import describe_tables, find_tables
from metrics_stream.views.run_totals import RANK_RULE, describe, find_totals
from metrics_stream.views.run_values import bands, parameter_rows, phase_rows

RUNS_ON_A_PAGE = 20


@require_safe
@page_cache
@for_viewers
def run_list(request: HttpRequest) -> HttpResponse:
    """Show the runs, newest first, filtered by the words, the test and the status in the address."""
    query = request.GET.get("q", "").strip()
    test = request.GET.get("test", "").strip()
    status = request.GET.get("status", "")
    if status not in TestRun.Status.values:
        status = ""
    access = access_of(request)
    found = search(access, query)
    if test:
        # Databases refuse a NUL; no test has one.
        found = found.filter(test=test) if "\0" not in test else found.none()
    note(Action.RUN, access.who, "the list of test runs", address=address_of(request))
    page = Paginator(found.filter(status=status) if status else found, RUNS_ON_A_PAGE).get_page(request.GET.get("page"))
    rows = [facts(run, access.permit) for run in page.object_list]
    context = {
        "rows": rows,
        "page_of_runs": page,
        "any_runs": bool(rows) or search(access, "").exists(),
        "is_growing": any(row.is_growing for row in rows),
        "choices": _choices(found, {"q": query, "test": test}, status),
        "query": query,
        "test": test,
        "without_test": f"?{urlencode({name: value for name, value in (('q', query), ('status', status)) if value})}",
        "status": status,
        "status_label": dict(TestRun.Status.choices).get(status, ""),
        "dashboards": visible_dashboards(access),
    }
    return render(request, "metrics_stream/runs.html", context)


def _choices(found: QuerySet[TestRun], filters: dict[str, str], chosen: str) -> list[dict[str, Any]]:
    """Return the statuses to choose from with their numbers of runs, without those that no run has."""
    counts = dict(found.order_by().values_list("status").annotate(Count("pk")))
    labels = [("", "All"), *TestRun.Status.choices]
    counts = {chosen: 0, **counts, "": sum(counts.values())}
    return [
        {
            "slug": slug,
            "label": label,
            "count": f"{counts[slug]:,}",
            "address": f"?{urlencode({name: value for name, value in {**filters, 'status': slug}.items() if value})}",
        }
        for slug, label in labels
        if slug in counts
    ]


@require_safe
@page_cache
@for_viewers
def run(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one run: its facts, parameters, phases, dashboards, series and files."""
    access = access_of(request)
    found = find_run(access, slug)
    note(Action.RUN, access.who, found.slug, address=address_of(request))
    series = groups(found, access.permit) if found.metrics_recorded else []
    missing, doubtful = holes(found, access.permit), doubts(found, access.permit)
    dashboards = visible_dashboards(access)
    totals = totals_context(request, found, access.permit)
    of_tables = {REQUEST.slug: totals["tables"].rows, ERROR.slug: totals["tables"].errors}
    recorded = {group.slug for group in series} | {slug for slug, rows in of_tables.items() if rows}
    links = dashboard_links(found, dashboards, recorded)
    shown, phases = facts(found, access.permit), phase_rows(run_phases.of(found), database_now())
    context = {
        "run": found,
        "facts": shown,
        "parameters": parameter_rows(found),
        "phases": phases,
        "bands": bands(phases, shown.picture.since, shown.picture.until) if shown.picture else [],
        "is_running": found.status in OPEN,
        "is_whole": is_whole(found),
        "holes": missing[:MOST_HOLES],
        "more_holes": len(missing[MOST_HOLES:]),
        "doubts": doubtful[:MOST_DOUBTS],
        "more_doubts": len(doubtful[MOST_DOUBTS:]),
        "left_out": left_out(found, access.permit),
        "wrong_clocks": wrong_clocks(found, access.permit),
        "groups": series[:MOST_GROUPS],
        "more_groups": len(series[MOST_GROUPS:]),
        **totals,
        "links": [link for link in links if link["has_metrics"]],
        "empty_links": [link for link in links if not link["has_metrics"]],
        "admin_address": _admin_address(request, found),
        "dashboards": dashboards,
    }
    if not context["span_is_whole"]:
        span = read_span(request)
        series = groups(found, access.permit, since=span.since, until=span.until)
        context |= {"groups": series[:MOST_GROUPS], "more_groups": len(series[MOST_GROUPS:])}
    return render(request, "metrics_stream/run.html", context)


def totals_context(request: HttpRequest, run: TestRun, permit: Permit) -> dict[str, Any]:
    """Return what the page shows of totals, of the whole run or of the span in its address."""
    span, problem = AskedSpan(), ""
    try:
        span = read_span(request)
    except SpanError as error:
        problem = str(error)
    found, tables = None, RowTables()
    if run.metrics_recorded and span.is_whole:
        found = remembered(run, "totals", permit, lambda: find_totals(run, permit, span))
    elif run.metrics_recorded:
        found = find_totals(run, permit, span)
    if run.metrics_recorded:
        tables = find_tables(run, permit, span)
    return {
        "totals": describe(found),
        "tables": describe_tables(tables, request),
        "span_is_whole": span.is_whole,
        "span_problem": problem,
        "rank_rule": RANK_RULE,
    }


def dashboard_links(run: TestRun, dashboards: QuerySet[Dashboard], recorded: set[str]) -> list[dict[str, Any]]:
    """Return each dashboard with its addresses: for a replay from the start, for the whole run, and live.

    `has_metrics` says whether metrics of its panels were recorded.
    """
    replayed = {"run": run.slug}
    if (span := recorded_span(run)) is not None:
        replayed["at"] = format_timestamp(span[0])
    elif run.started_at is not None:
        replayed["at"] = format_timestamp(run.started_at.timestamp())
    links = []
    for dashboard in dashboards.prefetch_related("panels"):
        address = dashboard.page_address()
        types = {panel.metric_type for panel in dashboard.panels.all() if panel.shows_metrics}
        links.append(
            {
                "title": dashboard.title,
                "description": dashboard.description,
                # client/time_link.js reads the address; a run without an instant is shown whole.
                "replay": f"{address}?{urlencode(replayed, safe=':')}",
                "whole": f"{address}?{urlencode({'run': run.slug})}",
                "live": address,
                "has_metrics": bool(types & recorded),
            }
        )
    return links


def _admin_address(request: HttpRequest, run: TestRun) -> str:
    try:
        return reverse("admin:metrics_stream_testrun_change", args=[run.pk]) if is_staff(request.user) else ""
    except NoReverseMatch:  # a host without the admin
        return ""
