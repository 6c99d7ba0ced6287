"""Series over time as columns: merge and downsample them.

A series is one field of one metric type, source and row. A field is a dotted path below `data`, or below a row. Each
bucket has count, minimum, maximum, sum and last value, so that buckets can be joined to wider ones without losing a
peak. Instants are in seconds since 1970; bucket b begins at b times its width.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from metrics_stream.core.metrics.annotations import Annotation, stated_for
from metrics_stream.core.metrics.paths import is_covered
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.metrics.summaries import is_percentile
from metrics_stream.core.series.sketch_columns import SketchColumns


class SeriesKey(NamedTuple):
    """The origin of a series; `row` is None for numbers that belong to no row, else the text of `keys.py`."""

    metric_type: str
    source: str
    row: str | None


class SeriesColumns(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One series over time: columns with an entry for each bucket that has a value.

    Bucket k begins at `starts_at` + k · `bucket_seconds`. `percentile` is set for a field that is a percentile where
    buckets hold several values: the percentile of everything measured in the bucket if all values came with sketches,
    else the worst value, and then `is_worst` is True. The recent past keeps no sketches, so it has the worst.
    `nulls` are the buckets without a value in which the producer published null: there the line ends. `unit` and
    `window_seconds` are what the producer stated last: over which time each published value was measured.
    """

    metric_type: str
    source: str
    row: str | None
    field: str
    starts_at: float
    bucket_seconds: float
    buckets: list[int]
    min: list[float]
    max: list[float]
    mean: list[float]
    last: list[float]
    count: list[int]
    percentile: list[float] | None = None
    is_worst: bool = False
    nulls: list[int] = []
    unit: str | None = None
    window_seconds: float | None = None


def permitted_series(series: Iterable[SeriesColumns], permit: Permit) -> list[SeriesColumns]:
    """Return the series that a permit shows."""
    return [item for item in series if permit.shows(item.metric_type, item.source, item.row, item.field)]


class Grid(NamedTuple):
    """The buckets of an answer: `length` buckets from `first` on, each as wide as `factor` narrow ones."""

    first: int
    length: int
    factor: int


def make_grid(since: float, until: float, *, bucket_seconds: int, max_points: int) -> Grid:
    """Return the narrowest grid, in multiples of `bucket_seconds`, that covers the time with `max_points` buckets.

    Buckets begin at multiples of their width, so that the next answer for a moving window has the same ones. One bucket
    cannot cover every time in this way, so at least 2 are allowed.
    """
    max_points = max(2, max_points)
    first, last = int(since // bucket_seconds), int(max(since, until) // bucket_seconds)
    factor = max(1, -(-(last - first + 1) // max_points))
    while last // factor - first // factor >= max_points:
        factor += 1
    return Grid(first // factor, last // factor - first // factor + 1, factor)


def is_selected(field: str, fields: Collection[str]) -> bool:
    """Return whether a filter selects a field: a name in it covers the field, or it is empty."""
    return not fields or is_covered(field, fields)


# --- one series ---

# Most columns have no nulls: they share this array, which nobody changes.
_NO_NULLS = array("q")


class Column:
    """The buckets of one series, in order of time.

    As long as every bucket holds one value, `lows`, `highs`, `totals` are the same array as `lasts`. `nulls` are the
    buckets in which the producer published null instead of a value, or beside one.
    """

    __slots__ = ("buckets", "counts", "highs", "lasts", "lows", "nulls", "totals")

    def __init__(self) -> None:
        self.nulls = _NO_NULLS
        self.buckets = array("q")
        self.counts = array("Q")
        self.lasts = array("d")
        self.lows = self.highs = self.totals = self.lasts

    @property
    def is_single(self) -> bool:
        """Whether no bucket holds more than one value."""
        return self.lows is self.lasts

    def _spread(self) -> None:
        if self.is_single:
            self.lows, self.highs, self.totals = self.lasts[:], self.lasts[:], self.lasts[:]

    def add(self, bucket: int, values: Sequence[float]) -> None:
        """Add the values of a bucket, in the order in which they came.

        Raises OverflowError, and changes nothing, for an integer that no float can hold.
        """
        if self.buckets and bucket <= self.buckets[-1]:
            late = Column()
            late.add(bucket, values)
            self.merge(late)
            return
        count = len(values)
        # Convert to float first: if that raises, nothing has changed.
        last = float(values[-1])
        if count > 1 or not self.is_single:
            low, high, total = float(min(values)), float(max(values)), float(sum(values))
            self._spread()
            self.lows.append(low)
            self.highs.append(high)
            self.totals.append(total)
        self.buckets.append(bucket)
        self.counts.append(count)
        self.lasts.append(last)

    def add_null(self, bucket: int) -> None:
        """Note that null was published in a bucket."""
        self._add_nulls((bucket,))

    def _add_nulls(self, buckets: Collection[int]) -> None:
        if buckets:
            self.nulls = array("q", sorted({*self.nulls, *buckets}))

    def merge(self, other: Column) -> None:
        """Merge the buckets of `other`, which came later: if both have a bucket, its last value is the other's."""
        self._add_nulls(other.nulls)
        if not self.buckets or (other.buckets and other.buckets[0] > self.buckets[-1]):
            self._splice(len(self.buckets), len(self.buckets), other)
            return
        for place, bucket in enumerate(other.buckets):
            at = bisect_left(self.buckets, bucket)
            if at == len(self.buckets) or self.buckets[at] != bucket:
                self._splice(at, at, other.between(bucket, bucket + 1))
                continue
            self._spread()
            self.counts[at] += other.counts[place]
            self.lasts[at] = other.lasts[place]
            self.lows[at] = min(self.lows[at], other.lows[place])
            self.highs[at] = max(self.highs[at], other.highs[place])
            self.totals[at] += other.totals[place]

    def replace(self, first: int, end: int, other: Column) -> None:
        """Replace the buckets from `first` up to before `end` by those of `other`."""
        if self.nulls or other.nulls:
            self.nulls = array("q", [bucket for bucket in self.nulls if not first <= bucket < end])
            self._add_nulls(other.nulls)
        self._splice(bisect_left(self.buckets, first), bisect_left(self.buckets, end), other)

    def _splice(self, begin: int, end: int, other: Column) -> None:
        if not other.is_single:
            self._spread()
        if not self.is_single:
            self.lows[begin:end] = other.lows
            self.highs[begin:end] = other.highs
            self.totals[begin:end] = other.totals
        self.buckets[begin:end] = other.buckets
        self.counts[begin:end] = other.counts
        self.lasts[begin:end] = other.lasts

    def between(self, first: int, end: int) -> Column:
        """Return a column of the buckets from `first` up to before `end`."""
        cut = slice(bisect_left(self.buckets, first), bisect_left(self.buckets, end))
        part = Column()
        if self.nulls:
            part.nulls = self.nulls[bisect_left(self.nulls, first) : bisect_left(self.nulls, end)]
        part.buckets, part.counts, part.lasts = self.buckets[cut], self.counts[cut], self.lasts[cut]
        if self.is_single:
            part.lows = part.highs = part.totals = part.lasts
        else:
            part.lows, part.highs, part.totals = self.lows[cut], self.highs[cut], self.totals[cut]
        return part

    def widened(self, bounds: Bounds) -> Column:
        """Return a column of wider buckets; `bounds` comes from `bounds_of(self.buckets, …)`."""
        wide = Column()
        wide._add_nulls({bucket // bounds.factor for bucket in self.nulls})
        edges = bounds.edges
        cuts = [slice(begin, end) for begin, end in pairwise(edges)]
        counts, lasts = self.counts.tolist(), self.lasts.tolist()
        lows, highs, totals = lasts, lasts, lasts
        if not self.is_single:
            lows, highs, totals = self.lows.tolist(), self.highs.tolist(), self.totals.tolist()
        wide.buckets = array("q", bounds.buckets)
        wide.counts = array("Q", [sum(counts[cut]) for cut in cuts])
        wide.lasts = array("d", [lasts[end - 1] for end in edges[1:]])
        wide.lows = array("d", [min(lows[cut]) for cut in cuts])
        wide.highs = array("d", [max(highs[cut]) for cut in cuts])
        wide.totals = array("d", [sum(totals[cut]) for cut in cuts])
        return wide


class Bounds(NamedTuple):
    """Wider buckets, and the indexes at which each begins in the columns of the narrow ones; the last is the end.

    They are `factor` times as wide.
    """

    buckets: list[int]
    edges: list[int]
    factor: int = 1


def bounds_of(buckets: Sequence[int], factor: int) -> Bounds:
    """Return which of the sorted `buckets` go into each bucket that is `factor` times as wide."""
    wide: list[int] = []
    edges: list[int] = []
    newest = None
    for place, bucket in enumerate(buckets):
        if (number := bucket // factor) != newest:
            newest = number
            wide.append(number)
            edges.append(place)
    edges.append(len(buckets))
    return Bounds(wide, edges, factor)


def downsample(
    key: SeriesKey,
    columns: Mapping[str, Column],
    grid: Grid,
    *,
    bucket_seconds: int,
    fields: Collection[str] = (),
    sketches: SketchColumns | None = None,
    annotations: Mapping[str, Annotation] | None = None,
    takes_worst: bool = True,
) -> Iterator[SeriesColumns]:
    """Yield the series of one key on a grid; only those of `fields`, if there are any.

    With `takes_worst`, the worst of several percentiles without sketches stands for their bucket.
    """
    annotations = annotations or {}
    end = grid.first + grid.length
    buckets: array[int] | None = None
    bounds = Bounds([], [0])
    merged = SketchColumns()
    if sketches:
        merged.merge(sketches, factor=grid.factor)
    # The caller can change `columns` between two series.
    for field, column in list(columns.items()):
        if not is_selected(field, fields):
            continue
        part = column.between(grid.first * grid.factor, end * grid.factor)
        if not part.buckets:
            continue
        if grid.factor > 1:
            # The fields of a metric arrive together, so they mostly have the same buckets: compute these once.
            if part.buckets != buckets:
                buckets, bounds = part.buckets, bounds_of(part.buckets, grid.factor)
            part = part.widened(bounds)
        unit, window_seconds = stated_for(annotations, field)
        percentile = merged.percentiles(field, part.buckets, part.counts, part.lasts)
        is_worst = (
            takes_worst and percentile is None and not part.is_single and max(part.counts) > 1 and is_percentile(field)
        )
        yield SeriesColumns(
            metric_type=key.metric_type,
            source=key.source,
            row=key.row,
            field=field,
            starts_at=grid.first * grid.factor * bucket_seconds,
            bucket_seconds=grid.factor * bucket_seconds,
            buckets=[bucket - grid.first for bucket in part.buckets],
            min=part.lows.tolist(),
            max=part.highs.tolist(),
            mean=[total / count for total, count in zip(part.totals, part.counts, strict=True)],
            last=part.lasts.tolist(),
            count=part.counts.tolist(),
            percentile=part.highs.tolist() if is_worst else percentile,
            is_worst=is_worst,
            nulls=[bucket - grid.first for bucket in sorted(set(part.nulls).difference(part.buckets))],
            unit=unit,
            window_seconds=window_seconds,
        )
