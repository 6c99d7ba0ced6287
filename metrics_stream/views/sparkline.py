"""A small picture of one series, as the paths of an inline SVG.

The line is the mean of each bucket. The band behind it goes from the least to the greatest value, so that a spike is
visible at any width of the buckets. The line has a gap where nothing was recorded, or where null was published.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from metrics_stream.core.series.columns import SeriesColumns

WIDTH = 240
HEIGHT = 48
# Half a stroke stays inside the picture.
_MARGIN = 2

# A distance of so many usual distances between points is a gap.
_GAP = 3

Point = tuple[float, float, float, float]
"""Place from left to right, then mean, least and greatest value."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """The `d` attributes of two paths in a box of WIDTH by HEIGHT, and the greatest value in it."""

    line: str
    band: str
    peak: float


def draw(series: SeriesColumns, since: float, until: float) -> Sparkline:
    """Return the picture of a series, which has a bucket at least, between two instants in seconds since 1970."""
    floor, ceiling = min(0.0, *series.min), max(0.0, *series.max)
    height = ceiling - floor or 1.0

    def y(value: float) -> str:
        return f"{HEIGHT - _MARGIN - (value - floor) / height * (HEIGHT - 2 * _MARGIN):.1f}"

    pieces = _pieces(series, since, max(until - since, series.bucket_seconds))
    # A single point becomes a line without length; its round cap draws a dot.
    lines = (
        "L".join(f"{x:.1f} {y(mean)}" for x, mean, _, _ in (piece * 2 if len(piece) == 1 else piece))
        for piece in pieces
    )
    bands = (
        [f"{x:.1f} {y(high)}" for x, _, _, high in piece] + [f"{x:.1f} {y(low)}" for x, _, low, _ in piece[::-1]]
        for piece in pieces
    )
    return Sparkline(
        line="".join(f"M{line}" for line in lines),
        band="".join(f"M{'L'.join(corners)}Z" for corners in bands),
        peak=max(series.max),
    )


def _pieces(series: SeriesColumns, since: float, duration: float) -> list[list[Point]]:
    """Return the points of each part without a gap."""
    gap = _GAP * median([after - before for before, after in pairwise(series.buckets)] or [1])
    pieces: list[list[Point]] = []
    before = None
    nulls = deque(series.nulls)
    for bucket, *values in zip(series.buckets, series.mean, series.min, series.max, strict=True):
        middle = series.starts_at + (bucket + 0.5) * series.bucket_seconds
        x = min(max((middle - since) / duration, 0.0), 1.0) * WIDTH
        is_ended = before is None or bucket - before > gap
        while nulls and nulls[0] < bucket:
            nulls.popleft()
            is_ended = True
        if is_ended:
            pieces.append([])
        before = bucket
        mean, low, high = values
        pieces[-1].append((x, mean, low, high))
    return pieces
