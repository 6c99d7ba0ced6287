"""How fast a reading grows: a straight line through it by least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

HOUR_SECONDS = 3_600.0


class Growth(NamedTuple):
    """A line through readings; all but the first two are percentages of its value at the first reading.

    `error` is twice the standard error of the slope, in percent an hour. `low` and `high` are by how much the lowest
    and the highest reading are off the line.
    """

    start: float
    end: float
    percent_per_hour: float
    error: float
    low: float
    high: float


def fit(readings: Sequence[tuple[float, float]]) -> Growth | None:
    """Return the growth of readings, pairs of seconds and value; None with fewer than three instants."""
    if len({at for at, _ in readings}) < 3:
        return None
    count = len(readings)
    mean_at = sum(at for at, _ in readings) / count
    mean = sum(value for _, value in readings) / count
    spread = sum((at - mean_at) ** 2 for at, _ in readings)
    slope = sum((at - mean_at) * (value - mean) for at, value in readings) / spread
    off = [value - mean - slope * (at - mean_at) for at, value in readings]
    start = mean + slope * (readings[0][0] - mean_at)
    error = 2 * math.sqrt(sum(each * each for each in off) / (count - 2) / spread)
    percent = 100 / start if start else math.inf
    return Growth(
        start,
        mean + slope * (readings[-1][0] - mean_at),
        slope * HOUR_SECONDS * percent,
        error * HOUR_SECONDS * percent,
        min(off) * percent,
        max(off) * percent,
    )
