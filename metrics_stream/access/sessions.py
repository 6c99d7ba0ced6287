"""How long a sign-in lasts: SESSION_IDLE_MINUTES after the latest request, and SESSION_MAX_HOURS in all.

Both become the expiry of the session in the database. It holds for pages and for open WebSockets, which the access
monitor closes with 4005 when their session has expired.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from metrics_stream.access.middleware import Answer, Middleware
from metrics_stream.audit.trail import current_request
from metrics_stream.conf import get_settings

_SIGNED_IN_AT = "metrics_stream_signed_in_at"

# The expiry is written again when it is off by more than this part of the idle time: not every page writes a session.
_TOLERATED = 0.1

# Ten years; browsers keep no cookie for longer than 400 days.
_MAX_MINUTES = 3_650 * 24 * 60


class SessionTimeouts(Middleware):
    """Middleware, after that of sessions, that ends sign-ins on time and extends those that are in use.

    It also says whose request changes rights, for the audit log.
    """

    def __call__(self, request: HttpRequest) -> Answer:
        """Return the response; a sign-in whose time is over has ended before."""
        # Programs have no session, and then need no thread for the database.
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return self.get_response(request)
        if self.is_async:
            return self._extend_first(request)
        _extend_sign_in(request.session)
        token = current_request.set(request)
        try:
            return self.get_response(request)
        finally:
            current_request.reset(token)

    async def _extend_first(self, request: HttpRequest) -> HttpResponseBase:
        await sync_to_async(_extend_sign_in)(request.session)
        # It ends with the task of the request.
        current_request.set(request)
        return await cast(Awaitable[HttpResponseBase], self.get_response(request))


def _extend_sign_in(session: SessionBase) -> None:
    # While the database is away, the view meets the same error, and its answer says so.
    with suppress(OperationalError, InterfaceError):
        if SESSION_KEY in session:
            _extend(session, timezone.now())


def begin(*, request: Any, **_: Any) -> None:
    """Start the time of a sign-in; `apps` connects it to the signal."""
    request.session[_SIGNED_IN_AT] = timezone.now().timestamp()
    _extend(request.session, timezone.now())


def _extend(session: SessionBase, now: datetime) -> None:
    stream = get_settings()
    idle, longest = _minutes(stream.session_idle_minutes), _minutes(stream.session_max_hours * 60)
    signed_in_at = session.get(_SIGNED_IN_AT)
    if not isinstance(signed_in_at, float):  # it began before there were timeouts
        session[_SIGNED_IN_AT] = signed_in_at = now.timestamp()
    ends_at = min(now + idle, datetime.fromtimestamp(signed_in_at, now.tzinfo) + longest)
    if ends_at <= now:
        session.flush()
    elif abs(session.get_expiry_date() - ends_at) > idle * _TOLERATED or "_session_expiry" not in session:
        session.set_expiry(ends_at)


def _minutes(count: float) -> timedelta:
    return timedelta(minutes=min(count, _MAX_MINUTES))
