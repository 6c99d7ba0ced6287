"""The bounds of the numbers in client messages, and what holds without a number."""

from __future__ import annotations

INTERVAL_SECONDS = (0.1, 60.0)
DEFAULT_INTERVAL_SECONDS = 1.0
BATCH_SIZE = (1, 1000)
BATCH_TIMEOUT_SECONDS = (0.0, 60.0)
BACKFILL_SECONDS = (1.0, 31_622_400.0)
MAX_POINTS = (10, 2000)
DEFAULT_MAX_POINTS = 300
SPEED = (0.25, 60.0)


def clamp(value: float, bounds: tuple[float, float]) -> float:
    """Return the value within `bounds` that is nearest to `value`."""
    return min(max(value, bounds[0]), bounds[1])
