"""The life of an access token: the name of an ended one is free again, and a secret is replaced by a new one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.models import AccessToken, TestRun, TokenName
from metrics_stream.runs.lifecycle import OPEN

_MOST_CHARACTERS = 100 - len(" (former, 01234567)")


def find_token(name: str) -> AccessToken | None:
    """Return the token with this name, or with this prefix: the eight characters after `mst_`."""
    return AccessToken.objects.filter(name=name).first() or AccessToken.objects.filter(prefix=name).first()


def check_scopes(scopes: Collection[str], metric_types: Collection[str]) -> None:
    """Raise ValidationError if a scope would have no effect."""
    if AccessToken.Scope.TYPES not in scopes:
        return
    if AccessToken.Scope.PUBLISH not in scopes or ALL not in metric_types:
        raise ValidationError(
            "The scope types lets a program publish metric types that do not exist yet; allowed: together with the "
            "scope publish and all metric types"
        )


def describe_state(token: AccessToken) -> str:
    """Return whether a token is valid, and until when."""
    if token.revoked_at is not None:
        return "revoked"
    if token.has_expired:
        return "expired"
    return "valid" if token.ends_at is None else f"valid until {token.ends_at:%Y-%m-%d %H:%M}"


def release_name(name: str) -> None:
    """Rename the ended token that has this name, if there is one, so that another token can have it."""
    token = AccessToken.objects.filter(name=name).first()
    if token is not None and not token.is_valid:
        _rename(token)


def _rename(token: AccessToken) -> None:
    # No two tokens have the same prefix.
    token.name = f"{token.name[:_MOST_CHARACTERS]} (former, {token.prefix})"
    token.save(update_fields=["name"])


@transaction.atomic
def rotate(token: AccessToken, *, overlap: timedelta = timedelta()) -> str:
    """Give the program of a valid token a new secret with the same grants; return the text, which is shown once.

    The old secret ends after `overlap`. Open test runs go to the new secret, or stay with the old one for as long as it
    is valid. The names of sources and agents that were published count for both.
    """
    grants = {
        column: getattr(token, column)
        for column in ("name", "scopes", "metric_types", "sources", "expires_at", "created_by", "is_personal")
    }
    _rename(token)
    successor, text = AccessToken.issue(**grants)
    names = [TokenName(token=successor, kind=each.kind, name=each.name) for each in token.names.all()]
    TokenName.objects.bulk_create(names)
    if overlap:
        end = timezone.now() + overlap
        token.expires_at = end if token.expires_at is None else min(end, token.expires_at)
        token.save(update_fields=["expires_at"])
    else:
        TestRun.objects.filter(started_by=token, status__in=OPEN).update(started_by=successor)
        token.revoke()
    return text
