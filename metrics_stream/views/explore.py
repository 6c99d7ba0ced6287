"""The page that lists everything that is published, and charts one field of it."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_viewers
from metrics_stream.access.grants import access_of
from metrics_stream.access.visibility import visible_catalogue, visible_dashboards
from metrics_stream.conf import get_settings
from metrics_stream.views.dashboards import page_cache
from metrics_stream.views.page_config import socket_path


@require_safe
@page_cache
@for_viewers
def explore(request: HttpRequest) -> HttpResponse:
    """Show every field that was seen lately; the browser gets them over the WebSocket, as far as it may see them."""
    access, stream = access_of(request), get_settings()
    page = {
        "socket_path": socket_path(),
        "sign_in_path": resolve_url(settings.LOGIN_URL),
        "catalogue": visible_catalogue(access),
        "history_seconds": stream.history_seconds,
        "stale_after_seconds": stream.stale_after_seconds,
    }
    return render(request, "metrics_stream/explore.html", {"page": page, "dashboards": visible_dashboards(access)})
