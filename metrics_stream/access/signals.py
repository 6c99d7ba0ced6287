"""Tells the server processes when an access may have changed; `apps` connects these signals."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from metrics_stream.access.monitor import name_of_session, name_of_token, name_of_user
from metrics_stream.access.shares import SHARES_KEY
from metrics_stream.bus.messages import AccessChanged
from metrics_stream.bus.processes import tell_servers
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset, Dashboard, Panel, ShareLink

_UID = "metrics_stream.access.grants"


def tell_of_change(owner: str | None = None) -> None:
    """Tell the server processes, which then check the access of the clients of an owner, None for every client."""
    tell_servers(AccessChanged(owner))


class _Telling:
    """A message that is sent when the transaction is over; equal ones are sent once."""

    def __init__(self, owner: str | None) -> None:
        self.owner = owner

    def __call__(self) -> None:
        tell_of_change(self.owner)


def _tell_later(owner: str | None = None) -> None:
    waiting = transaction.get_connection().run_on_commit
    # A form that saves a policy sends half a dozen signals; one message is enough.
    known = {entry[1].owner for entry in waiting if isinstance(entry[1], _Telling)}
    if not known.intersection((owner, None)):
        transaction.on_commit(_Telling(owner), robust=True)


def _tell_of_anything(**_: Any) -> None:
    _tell_later()


def _tell_of_user(*, instance: Any, update_fields: Any = None, created: bool = False, **_: Any) -> None:
    # A sign-in only notes its time, and a new user has no connection yet.
    if not created and update_fields != frozenset({"last_login"}):
        _tell_later(name_of_user(instance.pk))


def _tell_of_token(*, instance: Any, created: bool = False, **_: Any) -> None:
    if not created:  # A new token has no connection yet.
        _tell_later(name_of_token(instance.pk))


def _tell_of_save(*, created: bool = False, sender: Any = None, **_: Any) -> None:
    # A new link has no connection yet.
    if not (created and sender is ShareLink):
        _tell_later()


def _tell_of_groups(*, instance: Any, reverse: bool, **_: Any) -> None:
    # The groups of a user change, or the users of a group.
    _tell_later(None if reverse else name_of_user(instance.pk))


def _tell_of_logout(*, request: Any = None, user: Any = None, **_: Any) -> None:
    session = getattr(request, "session", None)
    if user is not None:
        _tell_later(name_of_user(user.pk))
    elif session is not None and session.get(SHARES_KEY) and session.session_key:
        # Nobody was signed in, but the links that were opened in the browser end with its session.
        _tell_later(name_of_session(session.session_key))


def connect() -> None:
    """Connect to the signals of every table that an access depends on."""
    user = get_user_model()
    post_save.connect(_tell_of_user, sender=user, dispatch_uid=_UID)
    post_delete.connect(_tell_of_user, sender=user, dispatch_uid=_UID)
    post_save.connect(_tell_of_token, sender=AccessToken, dispatch_uid=_UID)
    post_delete.connect(_tell_of_token, sender=AccessToken, dispatch_uid=_UID)
    # Panels, dashboards and presets, because share links grant what they show.
    for model in (AccessPolicy, ShareLink, Dashboard, Panel, ClientPreset):
        post_save.connect(_tell_of_save, sender=model, dispatch_uid=_UID)
        post_delete.connect(_tell_of_anything, sender=model, dispatch_uid=_UID)
    post_delete.connect(_tell_of_anything, sender=Group, dispatch_uid=_UID)
    if hasattr(user, "groups"):  # A custom user model may have no groups.
        m2m_changed.connect(_tell_of_groups, sender=user.groups.through, dispatch_uid=_UID)
    for through in (AccessPolicy.users.through, AccessPolicy.groups.through):
        m2m_changed.connect(_tell_of_anything, sender=through, dispatch_uid=_UID)
    m2m_changed.connect(_tell_of_anything, sender=AccessPolicy.dashboards.through, dispatch_uid=_UID)
    user_logged_out.connect(_tell_of_logout, dispatch_uid=_UID)
