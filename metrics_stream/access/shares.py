"""What share links show, as grants, and which links the session of a browser holds.

`access.grants` decides which of these links are still valid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module

from django.conf import settings as django_settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.utils import timezone

from metrics_stream.conf import get_settings
from metrics_stream.core.metrics.permission import Grant
from metrics_stream.models import ClientPreset, Dashboard, ShareLink
from metrics_stream.models.panel_kinds import PANEL_KINDS

SHARES_KEY = "metrics_stream_shares"
"""The key in a browser's session with the ids of the share links that were opened in it."""


def grants_of(dashboard: Dashboard) -> Iterator[Grant]:
    """Yield a grant for each metric type on a dashboard: the fields that its panels read, narrowed by its preset.

    A broken panel or preset grants nothing.
    """
    preset = dashboard.preset or ClientPreset.objects.filter(is_default=True).first() or ClientPreset()
    try:
        preset.clean_fields(exclude=_names_except(preset, "agent_ids", "sources", "fields"))
    except ValidationError:
        return
    kept = frozenset(preset.fields)
    shown: defaultdict[str, set[str]] = defaultdict(set)
    for panel in dashboard.panels.all():
        if panel.shows_metrics and not panel.problem:
            shown[panel.metric_type] |= PANEL_KINDS[panel.kind].read_fields(panel.fields)
    for metric_type, found in shown.items():
        fields = frozenset(found & kept if kept else found)
        if fields:  # a grant without fields would show every field
            yield Grant(frozenset({metric_type}), frozenset(preset.sources), frozenset(preset.agent_ids), fields)


def _names_except(preset: ClientPreset, *names: str) -> set[str]:
    return {field.name for field in preset._meta.get_fields() if field.name not in names}


def held_by(session: SessionBase) -> list[ShareLink]:
    """Return the links that were opened in a session, the newest last; some may no longer be valid."""
    pks = session.get(SHARES_KEY)
    if not isinstance(pks, list):
        return []
    found = ShareLink.objects.filter(pk__in=pks).select_related("dashboard__preset", "run")
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
