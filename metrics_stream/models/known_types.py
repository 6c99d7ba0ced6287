"""Read the declared metric types into this process, when they have changed."""

from __future__ import annotations

import threading

from metrics_stream.conf import get_settings
from metrics_stream.metric_types import replace_declared_types
from metrics_stream.models import Installation, MetricTypeDeclaration


class _Read:
    version = -1
    # Threads read one after another: an older answer must not replace a newer one.
    turn = threading.Lock()


def read_definitions() -> int:
    """Bring the metric types of this process up to date; return the version of all definitions, presets included.

    It costs one small query unless something has changed. Raises DatabaseError; then everything stays as it was.
    """
    with _Read.turn:
        found = Installation.objects.filter(pk=Installation.ROW).values_list("definitions", flat=True).first()
        version: int = found or 0
        if version != _Read.version:
            declared = MetricTypeDeclaration.objects.prefetch_related("fields")
            replace_declared_types(item.metric_type for item in declared)
            # After the types: what is declared in between is of a later version, and read again.
            _Read.version = version
    return version


def type_exists(slug: str) -> bool:
    """Return whether this process knows a metric type."""
    return slug in get_settings().catalogue().types
