"""Add rows up to one: what a metric says of several requests together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metrics_stream.core.errors import SketchError
from metrics_stream.core.metrics.percentiles import percentile_in
from metrics_stream.core.metrics.projection import Row
from metrics_stream.core.metrics.sketch import Sketch, decode_sketch
from metrics_stream.core.metrics.summaries import SKETCHES, kind_of

# Gauges that count something.
_ADDED_GAUGES = frozenset({"users", "folded_rows"})

# The mean of a row, and the counters that give the mean of several: the sum of what is averaged, and its number.
_MEANS = {
    "avg_response_time_ms": ("response_time_total_ms", "requests_total"),
    "error_rate": ("requests_failed", "requests_total"),
}


def add_up(rows: Sequence[Row]) -> Row:
    """Return the fields of several rows as one, without the parts of their keys.

    Counters and rates add up, the maximum is the highest and the minimum the lowest, sketches merge. A percentile comes
    from the merged sketch, a mean from counters; without these, and of other fields, nothing is known.
    """
    found: Row = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        numbers: list[Any] = [value for row in rows if type(value := row.get(name)) in {int, float}]
        if numbers and (value := _join(name, numbers)) is not None:
            found[name] = value
    for name, (total, count) in _MEANS.items():
        if any(name in row for row in rows) and found.get(count) and total in found:
            found[name] = found[total] / found[count]
    sketches = _merge_sketches(rows)
    for name in dict.fromkeys(name for row in rows for name in row):
        percentile = percentile_in(name)
        sketch = sketches.get(percentile.base) if percentile is not None else None
        if percentile is not None and percentile.share is not None and sketch is not None:
            found[name] = sketch.quantile(percentile.share)
    if sketches:
        found[SKETCHES] = {name: sketch.encode() for name, sketch in sketches.items()}
    return found


def _join(name: str, numbers: list[float]) -> float | None:
    match kind_of(name):
        case "counter" | "rate":
            return sum(numbers)
        case "maximum":
            return max(numbers)
        case "minimum":
            return min(numbers)
    return sum(numbers) if name in _ADDED_GAUGES else None


def _merge_sketches(rows: Sequence[Row]) -> dict[str, Sketch]:
    """Return the merged sketches by name, of those names that every row with numbers has."""
    found: dict[str, Sketch] = {}
    counts: dict[str, int] = {}
    for row in rows:
        sketches: Any = row.get(SKETCHES)
        for name, value in (sketches if isinstance(sketches, dict) else {}).items():
            try:
                encoded = decode_sketch(value)
            except SketchError:
                continue
            found.setdefault(name, Sketch()).merge(encoded)
            counts[name] = counts.get(name, 0) + 1
    return {name: sketch for name, sketch in found.items() if counts[name] == len(rows)}
