"""The pages that show metrics: home, dashboards and the console."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_shares, for_viewers
from metrics_stream.access.grants import access_of
from metrics_stream.access.visibility import (
    find_dashboard,
    visible_catalogue,
    visible_dashboards,
    visible_panels,
    visible_preset_of,
    visible_presets,
    visible_runs,
)
from metrics_stream.core.protocol.tolerance import client_message_keys
from metrics_stream.runs.lifecycle import OPEN
from metrics_stream.views.page_config import page_config, showable, shown_runs, socket_path

# The home page shows so many; the list of runs has all.
MOST_OPEN_RUNS = 6

# A page depends on the user and on the latest changes of admins.
page_cache = cache_control(private=True, no_cache=True)


@require_safe
@page_cache
@for_shares
def index(request: HttpRequest) -> HttpResponse:
    """Show the active test runs, and the dashboards as cards, each with a small picture of its panels."""
    access = access_of(request)
    if access.is_shared and (shared := visible_dashboards(access).first()) is not None:
        return redirect(shared.page_address())
    dashboards = visible_dashboards(access).select_related("preset").prefetch_related("panels")
    context = {
        "dashboards": dashboards,
        "cards": [(dashboard, visible_panels(access, dashboard)) for dashboard in dashboards],
        "open_runs": visible_runs(access).filter(status__in=OPEN)[:MOST_OPEN_RUNS],
    }
    return render(request, "metrics_stream/index.html", context)


@require_safe
@page_cache
@for_shares
def dashboard(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one dashboard; one that is not published exists for staff only."""
    access = access_of(request)
    found = find_dashboard(access, slug)
    if found is None:
        raise Http404(f"There is no dashboard {slug!r}.")
    runs = shown_runs(visible_runs(access), request.GET.get("run"))
    if not access.is_live and runs and request.GET.get("run") != runs[0]["id"]:
        return redirect(f"{request.path}?{urlencode({'run': runs[0]['id']})}")
    panels = [showable(panel) for panel in visible_panels(access, found)]
    context = {
        "dashboard": found,
        "panels": panels,
        "page": page_config(
            found,
            panels,
            visible_preset_of(access, found),
            is_live=access.is_live,
            is_shared=access.is_shared,
        ),
        "is_live": access.is_live,
        "runs": runs,
        "dashboards": visible_dashboards(access),
    }
    return render(request, "metrics_stream/dashboard.html", context)


@require_safe
@page_cache
@for_viewers
def console(request: HttpRequest) -> HttpResponse:
    """Show the console, which sends messages over the WebSocket by hand."""
    access = access_of(request)
    page = {
        "socket_path": socket_path(),
        "sign_in_path": resolve_url(settings.LOGIN_URL),
        "presets": [
            {"slug": preset.slug, "name": preset.name, "description": preset.description}
            for preset in visible_presets(access)
        ],
        "catalogue": visible_catalogue(access),
        "client_messages": client_message_keys(),
    }
    return render(request, "metrics_stream/console.html", {"page": page, "dashboards": visible_dashboards(access)})


@require_safe
@cache_control(public=True, max_age=86_400)
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect browsers that request the traditional address to the icon."""
    return HttpResponseRedirect(staticfiles_storage.url("metrics_stream/img/favicon.svg"))
