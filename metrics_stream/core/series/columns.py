"""Series over time as columns: merge, downsample, and pack them for the database.

A series is one field of one metric type, source and agent. A field is a dotted path below `data`, or below an agent's
entry. Each bucket has count, minimum, maximum, sum and last value, so that buckets can be joined to wider ones without
losing a peak. Instants are in seconds since 1970; bucket b begins at b times its width.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec

from metrics_stream.core.metrics.annotations import UNSTATED, Annotation
from metrics_stream.core.metrics.paths import is_covered
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.series.sketch_columns import PackedSketch, SketchColumns, unpack_sketches


class SeriesKey(NamedTuple):
    """The origin of a series; `agent_id` is None for numbers that belong to no agent."""

    metric_type: str
    source: str
    agent_id: str | None


class SeriesColumns(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One series over time: columns with an entry for each bucket that has a value.

    Bucket k begins at `starts_at` + k · `bucket_seconds`. `percentile` is set for a field that is a percentile where
    buckets hold several values: the percentile of everything measured in the bucket if all values came with sketches,
    else the worst value, and then `is_worst` is True. The recent past keeps no sketches, so it has no `percentile`.
    `nulls` are the buckets without a value in which the producer published null: there the line ends. `unit` and
    `window_seconds` are what the producer stated last: over which time each published value was measured.
    """

    metric_type: str
    source: str
    agent_id: str | None
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
    return [item for item in series if permit.shows(item.metric_type, item.source, item.agent_id, item.field)]


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


class Column:
    """The buckets of one series, in order of time.

    As long as every bucket holds one value, `lows`, `highs`, `totals` are the same array as `lasts`.
    """

    __slots__ = ("buckets", "counts", "highs", "lasts", "lows", "totals")

    def __init__(self) -> None:
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

    def merge(self, other: Column) -> None:
        """Merge the buckets of `other`, which came later: if both have a bucket, its last value is the other's."""
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
        part.buckets, part.counts, part.lasts = self.buckets[cut], self.counts[cut], self.lasts[cut]
        if self.is_single:
            part.lows = part.highs = part.totals = part.lasts
        else:
            part.lows, part.highs, part.totals = self.lows[cut], self.highs[cut], self.totals[cut]
        return part

    def widened(self, bounds: Bounds) -> Column:
        """Return a column of wider buckets; `bounds` comes from `bounds_of(self.buckets, …)`."""
        wide = Column()
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
    """Wider buckets, and the indexes at which each begins in the columns of the narrow ones; the last is the end."""

    buckets: list[int]
    edges: list[int]


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
    return Bounds(wide, edges)


def downsample(
    key: SeriesKey,
    columns: Mapping[str, Column],
    grid: Grid,
    *,
    bucket_seconds: int,
    fields: Collection[str] = (),
    sketches: SketchColumns | None = None,
    annotations: Mapping[str, Annotation] | None = None,
) -> Iterator[SeriesColumns]:
    """Yield the series of one key on a grid; only those of `fields`, if there are any."""
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
        unit, window_seconds = annotations.get(field, UNSTATED)
        yield SeriesColumns(
            metric_type=key.metric_type,
            source=key.source,
            agent_id=key.agent_id,
            field=field,
            starts_at=grid.first * grid.factor * bucket_seconds,
            bucket_seconds=grid.factor * bucket_seconds,
            buckets=[bucket - grid.first for bucket in part.buckets],
            min=part.lows.tolist(),
            max=part.highs.tolist(),
            mean=[total / count for total, count in zip(part.totals, part.counts, strict=True)],
            last=part.lasts.tolist(),
            count=part.counts.tolist(),
            percentile=merged.percentiles(field, part.buckets, part.counts),
            unit=unit,
            window_seconds=window_seconds,
        )


# --- packed ---


class _Block(msgspec.Struct, array_like=True, gc=False):
    """The columns of fields that have the same buckets with the same counts.

    `steps` are the distances between buckets. `values` has the last values of all fields, one field after the other,
    then the minima, maxima and sums if a count is above 1.
    """

    fields: list[str]
    first: int
    steps: list[int]
    counts: list[int]
    values: bytes


class _Payload(msgspec.Struct, array_like=True, gc=False):
    blocks: list[_Block]
    sketches: list[PackedSketch] = []


_encode_payload = msgspec.msgpack.Encoder().encode
_decode_payload = msgspec.msgpack.Decoder(_Payload).decode


def pack(columns: Mapping[str, Column], sketches: SketchColumns | None = None, *, level: int = 6) -> bytes:
    """Return columns as the database stores them; `unpack` reverses it."""
    blocks = []
    for (buckets, counts), fields in _group_alike(columns):
        parts = [columns[field] for field in fields]
        values = array("d")
        for part in parts:
            values += part.lasts
        if any(count > 1 for count in counts):
            for statistic in ("lows", "highs", "totals"):
                for part in parts:
                    values += getattr(part, statistic)
        steps = [after - before for before, after in pairwise(buckets)]
        blocks.append(_Block(fields, buckets[0], steps, list(counts), _shuffle(values)))
    return zlib.compress(_encode_payload(_Payload(blocks, sketches.packed() if sketches else [])), level)


def _group_alike(columns: Mapping[str, Column]) -> Iterable[tuple[tuple[tuple[int, ...], tuple[int, ...]], list[str]]]:
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for field, column in columns.items():
        if column.buckets:
            alike.setdefault((tuple(column.buckets), tuple(column.counts)), []).append(field)
    return alike.items()


class Unpacked(NamedTuple):
    """The columns of one key by field, and its sketches."""

    columns: dict[str, Column]
    sketches: SketchColumns


def unpack(payload: bytes | memoryview, *, fields: Collection[str] = ()) -> Unpacked:
    """Return what `pack` has packed; only the columns of `fields`, if there are any."""
    columns = {}
    decoded = _decode_payload(zlib.decompress(payload))
    for block in decoded.blocks:
        buckets = array("q", accumulate(block.steps, initial=block.first))
        counts = array("Q", block.counts)
        values = _unshuffle(block.values)
        length, width = len(buckets), len(buckets) * len(block.fields)
        for place, field in enumerate(block.fields):
            if not is_selected(field, fields):
                continue
            column = columns[field] = Column()
            column.buckets, column.counts = buckets[:], counts[:]
            begin = place * length
            column.lasts = values[begin : begin + length]
            column.lows = column.highs = column.totals = column.lasts
            if len(values) > width:
                column.lows, column.highs, column.totals = (
                    values[at : at + length] for at in range(begin + width, len(values), width)
                )
    return Unpacked(columns, unpack_sketches(decoded.sketches))


def _shuffle(values: array[float]) -> bytes:
    """Return the first bytes of all values, then the second bytes and so on: alike neighbours compress well."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    data = values.tobytes()
    return b"".join([data[place::8] for place in range(8)])


def _unshuffle(data: bytes) -> array[float]:
    mixed = bytearray(len(data))
    length = len(data) // 8
    for place in range(8):
        mixed[place::8] = data[place * length : (place + 1) * length]
    values = array("d", bytes(mixed))
    if sys.byteorder == "big":
        values.byteswap()
    return values
