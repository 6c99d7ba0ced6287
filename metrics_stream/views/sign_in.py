"""The limit on attempts to sign in, where django-axes is installed; `accounts.py` has the page.

Attempts are counted for a user name and an address together, so that one person cannot lock out another. They are also
counted for the address alone, with a higher limit, so that one password cannot be tried on all names, and for the name
alone, so that many addresses cannot try one account. The last limit does not hold for an address from which this name
has signed in lately, so that nobody locks out the owner. Names that do not exist count, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil
from typing import Any

from axes.conf import settings
from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt, AccessLog
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from metrics_stream.limits.guesses import network_of

# With different user names an address may fail this many times as often as with one: offices share an address.
NAMES_OF_AN_ADDRESS = 10

# From all addresses together a name may fail this many times as often as from one.
ADDRESSES_OF_A_NAME = 4

# An address is known to a name for so long after a sign-in.
KNOWN_ADDRESS = timedelta(days=90)


def client_address(request: HttpRequest) -> str | None:
    """Return the address that attempts are counted for: that of the connection, ignoring all headers.

    The server has already applied the headers of trusted proxies (FORWARDED_ALLOW_IPS). None: no valid address.
    """
    return network_of(request.META.get("REMOTE_ADDR", "")) or None


class SignInHandler(AxesDatabaseHandler):  # type: ignore[misc]  # the library is untyped
    """Counts failures in the database, over all server processes."""

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        """Return the failures that count against the limit."""
        of_address = self.of_address(request).aggregate(total=Sum("failures_since_start"))["total"] or 0
        of_name: int = super().get_failures(request, credentials)
        everywhere = self.of_name(request, credentials).aggregate(total=Sum("failures_since_start"))["total"] or 0
        if everywhere >= settings.AXES_FAILURE_LIMIT * ADDRESSES_OF_A_NAME and self.is_known(request, credentials):
            everywhere = 0
        return max(of_name, of_address // NAMES_OF_AN_ADDRESS, everywhere // ADDRESSES_OF_A_NAME)

    def of_name(self, request: Any, credentials: dict[str, Any] | None) -> QuerySet[Any]:
        """Return the attempts with a user name that still count, from any address."""
        since = request.axes_attempt_time - settings.AXES_COOLOFF_TIME
        name = get_client_username(request, credentials)
        found: QuerySet[Any] = AccessAttempt.objects.filter(username=name, attempt_time__gte=since)
        return found if name else found.none()

    def is_known(self, request: Any, credentials: dict[str, Any] | None) -> bool:
        """Return whether a user name has signed in from the address of a request lately."""
        name, since = get_client_username(request, credentials), timezone.now() - KNOWN_ADDRESS
        logins = AccessLog.objects.filter(username=name, ip_address=request.axes_ip_address, attempt_time__gte=since)
        return bool(request.axes_ip_address) and bool(logins.exists())

    def of_address(self, request: Any) -> QuerySet[Any]:
        """Return the attempts of an address that still count, with any user name."""
        since = request.axes_attempt_time - settings.AXES_COOLOFF_TIME
        found: QuerySet[Any] = AccessAttempt.objects.filter(ip_address=request.axes_ip_address, attempt_time__gte=since)
        return found

    def free_at(self, request: Any, credentials: dict[str, Any] | None) -> datetime:
        """Return when a locked-out client may try again."""
        [of_name] = self.get_user_attempts(request, credentials)
        limit = settings.AXES_FAILURE_LIMIT
        at = max(_free_at(of_name, limit), _free_at(self.of_address(request), limit * NAMES_OF_AN_ADDRESS))
        if self.is_known(request, credentials):
            return at
        return max(at, _free_at(self.of_name(request, credentials), limit * ADDRESSES_OF_A_NAME))


def _free_at(attempts: QuerySet[Any], limit: int) -> datetime:
    """Return when fewer than `limit` failures count; the failures of a row expire together."""
    rows = list(attempts.order_by("attempt_time").values_list("attempt_time", "failures_since_start"))
    left = sum(failures for _, failures in rows)
    at = timezone.now()
    for last_at, failures in rows:
        if left < limit:
            break
        left -= failures
        at = last_at + settings.AXES_COOLOFF_TIME
    return at


def locked_out(request: Any, *_: Any) -> HttpResponse:
    """Return the page that says how long to wait after too many attempts.

    django-axes passes more arguments, in a different order under ASGI and WSGI; the request has them, too.
    """
    handler = AxesProxyHandler.get_implementation()
    wait = max(handler.free_at(request, request.axes_credentials) - timezone.now(), timedelta(seconds=1))
    minutes = ceil(wait / timedelta(minutes=1))
    answer = render(request, "metrics_stream/locked_out.html", {"minutes": minutes}, status=429)
    answer["Retry-After"] = str(ceil(wait.total_seconds()))
    answer["Cache-Control"] = "no-store"
    return answer
