"""Opening share links: a link starts a session and redirects, so that its address leaves the address bar.

Every request to a link is answered with a redirect: Django, like other servers, logs the addresses of errors, and the
text of a link is worth as much as a password.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from metrics_stream.access.grants import access_of, is_effective, is_open
from metrics_stream.access.shares import SHARES_KEY, session_with
from metrics_stream.access.visibility import find_dashboard
from metrics_stream.audit.trail import Action, Result, address_of, note
from metrics_stream.core.errors import TooManyGuessesError
from metrics_stream.limits.guesses import guesses_of_process
from metrics_stream.models import ShareLink


@csrf_exempt  # a failed check would log the address, and there is nothing to protect
@never_cache
def open_link(request: HttpRequest, text: str) -> HttpResponse:
    """Give the browser access to what a link shows, and redirect it there; an invalid link leads to an explanation."""
    address = address_of(request)
    link = _find_link(text.strip("/"), request) if request.method in ("GET", "HEAD") else None
    if link is None or not is_effective(link):
        note(Action.SHARE_LINK, "", "" if link is None else link.name, address=address, result=Result.REFUSED)
        return _unlisted(HttpResponseRedirect(reverse("metrics_stream:share_ended")))
    note(Action.SHARE_LINK, request.user.get_username(), link.name, address=address)
    link.note_use()
    if request.user.is_authenticated:
        return _unlisted(_open_for_user(request, link))
    if not is_open() and link.pk not in request.session.get(SHARES_KEY, ()):
        request.session = session_with(link, request.session)
    return _unlisted(HttpResponseRedirect(link.page_address()))


def _find_link(text: str, request: HttpRequest) -> ShareLink | None:
    """Return the link of a text, valid or not; None also for an address that has guessed too often."""
    try:
        return guesses_of_process().find(text, address_of(request), ShareLink.find, ShareLink.name_possible)
    except TooManyGuessesError:
        return None


def _open_for_user(request: HttpRequest, link: ShareLink) -> HttpResponse:
    # A signed-in user keeps the session, and sees the live dashboard of the link beside the other pages.
    shared: list[int] = request.session.get(SHARES_KEY, [])
    if link.run is None and link.pk not in shared:
        request.session[SHARES_KEY] = [*shared, link.pk]
    access = access_of(request)
    sees_run = link.run is None or access.shows_run(link.run.pk, link.run.sources)
    if sees_run and find_dashboard(access, link.dashboard.slug) is not None:
        return HttpResponseRedirect(link.page_address())
    return HttpResponseRedirect(f"{reverse('metrics_stream:share_ended')}?signed_in=1")


@require_safe
@never_cache
def ended(request: HttpRequest) -> HttpResponse:
    """Say that a link is not valid, in the same words for a link that never existed."""
    request.is_share_session = True  # type: ignore[attr-defined]  # the header then has no links
    context: dict[str, Any] = {"is_signed_in": "signed_in" in request.GET and request.user.is_authenticated}
    return _unlisted(render(request, "metrics_stream/share_ended.html", context, status=410))


def _unlisted(response: HttpResponse) -> HttpResponse:
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex"
    return response
