"""Who may see what. Today every client may see every metric type; the rules have this one place to grow in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metrics_stream.conf import StreamSettings


@dataclass(frozen=True, slots=True)
class Access:
    """What one client may see: metric types, in catalogue order."""

    metric_types: tuple[str, ...]


def access_for(scope: Mapping[str, Any], settings: StreamSettings) -> Access:
    """Return what the client of an ASGI scope may see."""
    del scope  # nothing about a client narrows its view yet
    return Access(settings.catalogue().slugs)
