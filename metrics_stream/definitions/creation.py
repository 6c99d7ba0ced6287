"""Create metric types by a first publication, as far as whoever publishes may create types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from django.db import transaction

from metrics_stream.conf import get_settings
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import ALL, BUILTIN_TYPES, SLUG_PATTERN, SLUG_RULE
from metrics_stream.models import AccessToken, MetricTypeDeclaration
from metrics_stream.models.installation import lock_installation
from metrics_stream.models.known_types import read_definitions
from metrics_stream.models.metric_types import MAX_TYPES

# How much a new slug may be like a built-in one, from 0 to 1: sytem, agents and buisness are no new types.
TOO_CLOSE = 0.8
_BUILT_IN = [item.slug for item in BUILTIN_TYPES]


def create_types(keys: Mapping[str, Sequence[str]], *, token: int | None = None) -> dict[str, str]:
    """Create the metric types that do not exist; return why, for each that cannot be created.

    `keys` has the names of the key parts of each type, none where its data is an object. `token` is the primary key of
    the token that publishes, None for a program of this installation. Raises DatabaseError. Afterwards this process
    knows the types, also those that another one has created meanwhile.
    """
    refused: dict[str, str] = {}
    settings = get_settings()
    read_definitions()
    unknown = [slug for slug in keys if slug not in settings.catalogue().types]
    if not unknown:
        return refused
    with transaction.atomic():
        # Without the lock, two processes that create types at once would exceed the limits together.
        lock_installation()
        stored = set(MetricTypeDeclaration.objects.values_list("slug", flat=True))
        own = MetricTypeDeclaration.objects.filter(created_by_token=token).count() if token is not None else 0
        for slug in unknown:
            if slug in stored:
                continue
            if not SLUG_PATTERN.fullmatch(slug) or slug == ALL:
                refused[slug] = f"unknown metric type {quote(slug)}, which cannot be created; allowed: {SLUG_RULE}"
            elif token is not None and own >= settings.ingest_max_types:
                refused[slug] = _LIMIT_OF_PROGRAM.format(quote(slug), settings.ingest_max_types)
            elif meant := get_close_matches(slug, _BUILT_IN, n=1, cutoff=TOO_CLOSE):
                refused[slug] = _MISSPELT.format(quote(slug), meant[0])
            elif len(stored) >= MAX_TYPES:
                refused[slug] = _TOO_MANY.format(quote(slug), MAX_TYPES)
            else:
                creator = None if token is None else AccessToken.objects.filter(pk=token).first()
                MetricTypeDeclaration.objects.create(slug=slug, key=list(keys[slug]), created_by_token=creator)
                stored.add(slug)
                own += 1
    read_definitions()
    return refused


_MISSPELT = "unknown metric type {}; did you mean {}? An admin can declare a type of this name at Metric types"
_LIMIT_OF_PROGRAM = (
    "metric type {} is new, and the token may create at most {} types; an admin can declare more at Metric types"
)
_TOO_MANY = "metric type {} is new, and there are {} declared types already; an admin can delete some"
