"""Tells the server processes when an access may have changed; `apps` connects these signals."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from metrics_stream.bus.messages import AccessChanged
from metrics_stream.bus.processes import tell_servers
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset, Dashboard, Panel, ShareLink

_UID = "metrics_stream.access.grants"


def tell_of_change() -> None:
    """Tell the server processes, which then check the access of every connected client."""
    tell_servers(AccessChanged())


def _tell_later(**_: Any) -> None:
    waiting = transaction.get_connection().run_on_commit
    # A form that saves a policy sends half a dozen signals; one message is enough.
    if not any(entry[1] is tell_of_change for entry in waiting):
        transaction.on_commit(tell_of_change, robust=True)


def _tell_of_user(*, update_fields: Any = None, created: bool = False, **_: Any) -> None:
    # A sign-in only notes its time, and a new user has no connection yet.
    if not created and update_fields != frozenset({"last_login"}):
        _tell_later()


def _tell_of_save(*, created: bool = False, sender: Any = None, **_: Any) -> None:
    # A new token or link has no connection yet.
    if not (created and sender in (AccessToken, ShareLink)):
        _tell_later()


def connect() -> None:
    """Connect to the signals of every table that an access depends on."""
    user = get_user_model()
    post_save.connect(_tell_of_user, sender=user, dispatch_uid=_UID)
    post_delete.connect(_tell_later, sender=user, dispatch_uid=_UID)
    # Panels, dashboards and presets, because share links grant what they show.
    for model in (AccessPolicy, AccessToken, ShareLink, Dashboard, Panel, ClientPreset):
        post_save.connect(_tell_of_save, sender=model, dispatch_uid=_UID)
        post_delete.connect(_tell_later, sender=model, dispatch_uid=_UID)
    post_delete.connect(_tell_later, sender=Group, dispatch_uid=_UID)
    # A custom user model may have no groups.
    memberships = [user.groups.through] if hasattr(user, "groups") else []
    for through in (*memberships, AccessPolicy.users.through, AccessPolicy.groups.through):
        m2m_changed.connect(_tell_later, sender=through, dispatch_uid=_UID)
    m2m_changed.connect(_tell_later, sender=AccessPolicy.dashboards.through, dispatch_uid=_UID)
    user_logged_out.connect(_tell_later, dispatch_uid=_UID)
