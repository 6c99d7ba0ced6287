"""Who may see what. Today everybody may see every metric type and run; the rules have this one place to grow in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet

from metrics_stream.conf import StreamSettings
from metrics_stream.models import TestRun


@dataclass(frozen=True, slots=True)
class Access:
    """What one client may see: metric types, in catalogue order, and which of them it means by `all`."""

    metric_types: tuple[str, ...]
    everything: tuple[str, ...]


def access_for(scope: Mapping[str, Any], settings: StreamSettings) -> Access:
    """Return what the client of an ASGI scope may see."""
    del scope  # nothing about a client narrows its view yet
    catalogue = settings.catalogue()
    return Access(catalogue.slugs, catalogue.all_slugs)


def visible_runs(user: AbstractBaseUser | AnonymousUser) -> QuerySet[TestRun]:
    """Return the test runs that a person may see, watch again and export."""
    del user  # everybody may see every run yet
    return TestRun.objects.all()
