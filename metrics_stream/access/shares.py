"""Which share links the session of a browser holds.

`access.grants` decides which of these links are still valid.
"""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

from django.conf import settings as django_settings
from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone

from metrics_stream.conf import get_settings
from metrics_stream.models import ShareLink

SHARES_KEY = "metrics_stream_shares"
"""The key in a browser's session with the ids of the share links that were opened in it."""


def held_by(session: SessionBase) -> list[ShareLink]:
    """Return the links that were opened in a session, the newest last; some may no longer be valid."""
    pks = session.get(SHARES_KEY)
    if not isinstance(pks, list):
        return []
    found = ShareLink.objects.filter(pk__in=pks).select_related("dashboard__preset", "run", "created_by")
    return sorted(found, key=lambda link: pks.index(link.pk))


def session_with(link: ShareLink, before: SessionBase) -> SessionBase:
    """Return a new session, not saved yet, for a browser that opens a link without being signed in.

    Its key differs from that of `before`, so an attacker who planted that key gains nothing. Links to live dashboards
    are kept side by side; a link to a test run stands alone. The session ends with its last link, or after
    SHARE_SESSION_DAYS.
    """
    session: SessionBase = import_module(django_settings.SESSION_ENGINE).SessionStore()
    others = [] if link.run_id is not None else held_by(before)
    kept = [*(other for other in others if other.is_valid and other.run_id is None and other.pk != link.pk), link]
    session[SHARES_KEY] = [each.pk for each in kept]
    latest = timezone.now() + timedelta(days=get_settings().share_session_days)
    session.set_expiry(min(latest, max(each.ends_at or latest for each in kept)))
    return session
