"""Notes sign-ins, sign-outs and changes of rights for the audit log; `apps` connects these signals."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import models, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from metrics_stream.audit.trail import Action, Result, address_of, current_request, flush, note
from metrics_stream.models import AccessPolicy, AccessToken, ShareLink

_UID = "metrics_stream.audit"


def _signed_in(*, request: Any, user: Any, **_: Any) -> None:
    note(Action.SIGN_IN, user.get_username(), address=address_of(request))


def _signed_out(*, request: Any, user: Any, **_: Any) -> None:
    if user is not None:  # a request to sign out that nobody had to make
        note(Action.SIGN_OUT, user.get_username(), address=address_of(request))


def _refused(*, request: Any = None, **_: Any) -> None:
    # Without the name: people type passwords into its field.
    note(Action.SIGN_IN, "", address=address_of(request), result=Result.REFUSED)


def _saved(
    *, instance: models.Model, created: bool = False, update_fields: Any = None, raw: bool = False, **_: Any
) -> None:
    # A sign-in and a new hash of the same password change no right.
    if raw or update_fields in (frozenset({"last_login"}), frozenset({"password"})):
        return
    _note_change(instance, "added" if created else "revoked" if update_fields == {"revoked_at"} else "changed")


def _deleted(*, instance: models.Model, **_: Any) -> None:
    _note_change(instance, "deleted")


def _members_changed(*, instance: models.Model, action: str, **_: Any) -> None:
    if action.startswith("post_"):
        _note_change(instance, "changed")


def _note_change(instance: models.Model, verb: str) -> None:
    request = current_request.get()
    user = getattr(request, "user", None)
    who = user.get_username() if user is not None else _command()
    what, address = f"{verb} {instance._meta.verbose_name} {instance}", address_of(request)

    def later() -> None:
        note(Action.RIGHTS, who, what, address=address)
        flush()

    transaction.on_commit(later, robust=True)


def _command() -> str:
    """Return the name of the command that runs, for changes that no request has made."""
    name = os.path.basename(sys.argv[0])
    return " ".join([name, *sys.argv[1:2]]) if name == "manage.py" else name


def connect() -> None:
    """Connect to the signals of sign-ins, and of every table that says who may do what."""
    user = get_user_model()
    user_logged_in.connect(_signed_in, dispatch_uid=_UID)
    user_logged_out.connect(_signed_out, dispatch_uid=_UID)
    user_login_failed.connect(_refused, dispatch_uid=_UID)
    for model in (user, Group, AccessPolicy, AccessToken, ShareLink):
        post_save.connect(_saved, sender=model, dispatch_uid=_UID)
        post_delete.connect(_deleted, sender=model, dispatch_uid=_UID)
    for owner in (user, Group, AccessPolicy):
        for field in owner._meta.many_to_many:
            m2m_changed.connect(_members_changed, sender=field.remote_field.through, dispatch_uid=_UID)
