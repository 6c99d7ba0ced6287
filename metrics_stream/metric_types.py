"""The metric types of this process: built in, of the settings, and declared while it runs.

The declared ones are in the database. `definitions` reads them and replaces them here as a whole; everything else asks
`StreamSettings.catalogue()`, which is a dictionary that never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from metrics_stream.core.metrics.catalogue import ALL, BUILTIN_TYPES, SLUG_PATTERN, Catalogue, MetricType
from metrics_stream.core.metrics.summaries import use_declared_kinds


class _Declared:
    """The declared types, compared by identity: a catalogue is looked up for every metric that is published."""

    now: _Declared

    def __init__(self, types: tuple[MetricType, ...] = ()) -> None:
        self.types = types
        self.slugs = frozenset(item.slug for item in types)


_Declared.now = _Declared()


def replace_declared_types(types: Iterable[MetricType]) -> bool:
    """Let these be the declared types of the process from now on; return whether anything changed."""
    found = tuple(types)
    if found == _Declared.now.types:
        return False
    use_declared_kinds({field.name: field.kind for item in found for field in item.fields})
    _Declared.now = _Declared(found)
    return True


def is_declared(metric_type: MetricType) -> bool:
    """Return whether a type of the catalogue is one of the declared ones."""
    return metric_type.slug in _Declared.now.slugs


def make_catalogue(extra_types: tuple[MetricType, ...]) -> Catalogue:
    """Return the catalogue of now; it is the same object until a type changes."""
    return _make_catalogue(extra_types, _Declared.now)


# A test process has several settings; a server has one, and the declared types of the moment.
@lru_cache(maxsize=16)
def _make_catalogue(extra_types: tuple[MetricType, ...], declared: _Declared) -> Catalogue:
    return Catalogue(extra_types, declared.types)


def parse_extra_types(value: Any) -> tuple[MetricType, ...]:
    """Return the metric types of the setting EXTRA_METRIC_TYPES; raise ImproperlyConfigured."""
    if not isinstance(value, dict):
        raise ImproperlyConfigured(
            f"METRICS_STREAM['EXTRA_METRIC_TYPES'] is {value!r}; it must be a dict of slug to label"
        )
    taken = {ALL, *(item.slug for item in BUILTIN_TYPES)}
    for slug, label in value.items():
        if not isinstance(slug, str) or not SLUG_PATTERN.fullmatch(slug):
            raise ImproperlyConfigured(
                f"METRICS_STREAM['EXTRA_METRIC_TYPES'] has the slug {slug!r}; a slug is lower-case letters, digits and "
                "underscores, starts with a letter and has at most 40 characters"
            )
        if slug in taken:
            raise ImproperlyConfigured(f"METRICS_STREAM['EXTRA_METRIC_TYPES'] redefines {slug!r}, which exists already")
        if not isinstance(label, str) or not label:
            raise ImproperlyConfigured(f"METRICS_STREAM['EXTRA_METRIC_TYPES'][{slug!r}] must be a label, got {label!r}")
    return tuple(MetricType(slug, label) for slug, label in value.items())
