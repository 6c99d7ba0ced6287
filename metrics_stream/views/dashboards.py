"""The pages and their JSON: home, dashboards, console, health, statistics.

`page_config` is the contract with the browser code in static/metrics_stream/pages: all that a page knows about its
panels. A panel whose stored values cannot be shown becomes a text panel that says why; the others are not affected.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_shares, for_viewers
from metrics_stream.access.grants import access_of, is_staff
from metrics_stream.access.visibility import find_dashboard, visible_dashboards, visible_runs
from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.catalogue import Catalogue, Field
from metrics_stream.core.protocol.messages import client_message_keys
from metrics_stream.models import ClientPreset, Dashboard, Panel, TestRun
from metrics_stream.models.panel_kinds import TEXT
from metrics_stream.runs.lifecycle import OPEN
from metrics_stream.runtime import runtime
from metrics_stream.views.prometheus import exposition
from metrics_stream.views.status import problems, recorder_lag_seconds

SOCKET_PATH = "/ws/metrics/"

# What a dashboard offers to play again; older runs are found among all runs.
MOST_RUNS = 50

# On the home page; the list of runs has all.
MOST_OPEN_RUNS = 6

# Pages depend on who asks and on what admins changed a moment ago.
page_cache = cache_control(private=True, no_cache=True)


@require_safe
@page_cache
@for_shares
def index(request: HttpRequest) -> HttpResponse:
    """Show the test runs that are going on, and the dashboards as cards, each with a small picture of its panels."""
    access = access_of(request)
    if access.is_shared and (shared := visible_dashboards(access).first()) is not None:
        return redirect(shared)
    context = {
        "dashboards": visible_dashboards(access).prefetch_related("panels"),
        "open_runs": visible_runs(access).filter(status__in=OPEN)[:MOST_OPEN_RUNS],
    }
    return render(request, "metrics_stream/index.html", context)


@require_safe
@page_cache
@for_shares
def dashboard(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one dashboard; unpublished ones exist for staff only."""
    access = access_of(request)
    found = find_dashboard(access, slug)
    if found is None:
        raise Http404(f"There is no dashboard {slug!r}.")
    runs = shown_runs(visible_runs(access), request.GET.get("run"))
    if not access.is_live and runs and request.GET.get("run") != runs[0]["id"]:
        return redirect(f"{request.path}?{urlencode({'run': runs[0]['id']})}")
    panels = [showable(panel) for panel in found.panels.all()]
    context = {
        "dashboard": found,
        "panels": panels,
        "page": page_config(found, panels, is_live=access.is_live, is_shared=access.is_shared),
        "is_live": access.is_live,
        "runs": runs,
        "dashboards": visible_dashboards(access),
    }
    return render(request, "metrics_stream/dashboard.html", context)


@require_safe
@page_cache
@for_viewers
def console(request: HttpRequest) -> HttpResponse:
    """Show the console, with which one talks to the socket by hand."""
    page = {
        "socket_path": SOCKET_PATH,
        "sign_in_path": resolve_url(settings.LOGIN_URL),
        "presets": list(ClientPreset.objects.values("slug", "name", "description")),
        "catalogue": get_settings().catalogue().describe(),
        "client_messages": client_message_keys(),
    }
    return render(
        request, "metrics_stream/console.html", {"page": page, "dashboards": visible_dashboards(access_of(request))}
    )


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the server answers; asks neither the database nor the channel layer."""
    return HttpResponse("ok", content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
async def stats(request: HttpRequest) -> JsonResponse:
    """Return the statistics of the process that answers, to staff.

    Asynchronous, because the statistics belong to the event loop that serves the sockets.
    """
    if not is_staff(await request.auser()):
        return JsonResponse({"error": "the statistics are for staff; log in at the admin first"}, status=403)
    return JsonResponse(runtime.snapshot())


@require_safe
@never_cache
async def metrics(request: HttpRequest) -> HttpResponse:
    """Return the counters of all server processes of this `manage.py serve` in the Prometheus format."""
    alive, gone = runtime.samples()
    body, content_type = exposition(alive, gone, accept=request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)


@require_safe
@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether this process can do all it is there for, with 503 when it cannot, and why."""
    lag = await recorder_lag_seconds()
    found = await problems(lag)
    checks = {part: problem or "ok" for part, problem in found.items()}
    ready = not any(found.values())
    answer = {"ready": ready, "checks": checks, "recorder_lag_seconds": None if lag is None else round(lag, 1)}
    return JsonResponse(answer, status=200 if ready else 503)


@require_safe
@cache_control(public=True, max_age=86_400)
def favicon(request: HttpRequest) -> HttpResponse:
    """Send browsers that ask for the classic address to the icon."""
    return HttpResponseRedirect(staticfiles_storage.url("metrics_stream/img/favicon.svg"))


def showable(panel: Panel) -> Panel:
    """Return `panel`, or in its place a text panel that says what is wrong with it; nothing is saved."""
    problem = panel.problem
    if not problem:
        return panel
    return Panel(
        pk=panel.pk,
        dashboard_id=panel.dashboard_id,
        title=panel.title or "Untitled panel",
        kind=TEXT.slug,
        size=panel.size if panel.size in Panel.Size.values else Panel.Size.MEDIUM,
        order=panel.order,
        options={"text": f"This panel cannot be shown. {problem}\n\nAn admin can mend it under Dashboards."},
    )


def page_config(
    found: Dashboard, panels: list[Panel], *, is_live: bool = True, is_shared: bool = False
) -> dict[str, Any]:
    """Return all that the browser code knows about a dashboard, ready for JSON.

    `is_live` says whether what is live may be seen, `is_shared` whether the viewer came by a share link.
    """
    stream = get_settings()
    catalogue = stream.catalogue()
    shown_types = {panel.metric_type for panel in panels if panel.shows_metrics}
    preset = found.preset or ClientPreset.objects.filter(is_default=True).first()
    kind = found.kind if found.kind in Dashboard.Kind.values else Dashboard.Kind.STANDARD
    return {
        "socket_path": SOCKET_PATH,
        "sign_in_path": None if is_shared else resolve_url(settings.LOGIN_URL),
        "is_live": is_live,
        "preset": preset.slug if preset else None,
        "metric_types": [slug for slug in catalogue.slugs if slug in shown_types],
        "stale_after_seconds": stream.stale_after_seconds,
        "history_seconds": stream.history_seconds,
        "dashboard": {"slug": found.slug, "title": found.title, "kind": kind},
        "panels": [_describe(panel, catalogue) for panel in panels],
    }


def shown_runs(visible: QuerySet[TestRun], named: str | None) -> list[dict[str, str | None]]:
    """Return the test runs that a dashboard offers, the newest first, also the one that its address names."""
    started = visible.filter(started_at__isnull=False)
    newest = started.order_by("-started_at").values("slug", "name", "status", "started_at", "ended_at")
    found = list(newest[:MOST_RUNS])
    # A NUL in an address is refused by databases.
    if named and "\0" not in named and all(run["slug"] != named for run in found):
        found += newest.filter(slug=named)
    return [
        {
            "id": run["slug"],
            "name": run["name"],
            "status": run["status"],
            "started_at": _iso(run["started_at"]),
            "ended_at": _iso(run["ended_at"]),
        }
        for run in found
    ]


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _describe(panel: Panel, catalogue: Catalogue) -> dict[str, Any]:
    return {
        "id": panel.pk,
        "title": panel.title,
        "kind": panel.kind,
        "metric_type": panel.metric_type,
        "fields": [describe_field(catalogue, panel.metric_type, path) for path in panel.fields or []],
        "unit": panel.unit,
        "decimals": panel.decimals,
        "warning_at": panel.warning_at,
        "critical_at": panel.critical_at,
        "size": panel.size,
        "options": panel.options or {},
    }


def describe_field(catalogue: Catalogue, metric_type: str, path: str) -> dict[str, str]:
    """Return path, label and unit of a field; one that the catalogue lacks is named after the end of its path."""
    name = path.rpartition(".")[2]
    known = _find_field(catalogue, metric_type, name, nested="." in path)
    label = known.label if known else name.replace("_", " ").capitalize()
    return {"path": path, "label": label, "unit": known.unit if known else ""}


def _find_field(catalogue: Catalogue, metric_type: str, name: str, *, nested: bool) -> Field | None:
    own = catalogue.types.get(metric_type)
    if not nested:
        return own.field(name) if own else None
    # Inside an object the names are those of other types: presentation holds hero, system and business metrics.
    return next((field for item in catalogue.types.values() if (field := item.field(name))), None)
