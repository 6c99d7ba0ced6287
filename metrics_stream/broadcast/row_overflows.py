"""Say once in the log of a program that rows of it are folded into `(other)`."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from metrics_stream.core.metrics.budget import Overflow

logger = logging.getLogger(__name__)

# Of so many types and sources.
MAX_LOGGED = 100

_logged: set[tuple[str, str]] = set()


def log_overflows(overflows: Iterable[Overflow]) -> None:
    """Log each type and source the first time."""
    for overflow in overflows:
        place = overflow.metric_type, overflow.source
        if place not in _logged and len(_logged) < MAX_LOGGED:
            _logged.add(place)
            logger.warning("%s (logged once)", overflow)
