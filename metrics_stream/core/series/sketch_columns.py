"""Merge the sketches of metrics by bucket, so that a percentile is that of all values in the bucket.

A sketch gives the percentiles of the fields beside it: `response_time_ms` gives `p95_response_time_ms`. Names
of sketches begin with the path of their object, as fields do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from metrics_stream.core.errors import SketchError
from metrics_stream.core.metrics.percentiles import percentile_in
from metrics_stream.core.metrics.projection import MALFORMED, decode_body, split_rows
from metrics_stream.core.metrics.sketch import EncodedSketch, Sketch, decode_sketch
from metrics_stream.core.metrics.summaries import SKETCHES, Tally

# For one key. Names with a counter in them would fill the database with sketches of a single value.
MAX_NAMES = 100

Found = tuple[str | None, dict[str, EncodedSketch]]
"""The row, or None, and its sketches by name."""


def sketches_in(body: bytes) -> list[Found]:
    """Return the sketches in the body of a metric, separately for each row; leave out malformed ones."""
    if b'"sketches"' not in body:
        return []
    try:
        decoded = decode_body(body)
    except MALFORMED:
        return []
    rows = split_rows(decoded.data, decoded.key)
    return [(row, found) for row, entry in rows if (found := dict(_collect(entry, "")))]


def _collect(data: Any, prefix: str) -> Iterator[tuple[str, EncodedSketch]]:
    if type(data) is not dict:
        return
    for name, value in data.items():
        if name != SKETCHES:
            yield from _collect(value, f"{prefix}{name}.")
        elif type(value) is dict:
            for sketch_name, encoded in value.items():
                try:
                    yield prefix + sketch_name, decode_sketch(encoded)
                except SketchError:
                    continue  # the percentile then has fewer sketches than values, so `percentiles` does not use them


class SketchColumns:
    """The merged sketches of one key by name and bucket, each with the number of metrics it comes from."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[int, Tally]] = {}

    def __bool__(self) -> bool:
        return bool(self._columns)

    def add(self, name: str, bucket: int, sketch: Sketch | EncodedSketch, metrics: int = 1) -> None:
        """Merge a sketch into that of its bucket, without changing `sketch`."""
        column = self._columns.get(name)
        if column is None:
            if len(self._columns) >= MAX_NAMES:
                return
            column = self._columns[name] = {}
        merged, before = column.get(bucket) or Tally(Sketch(), 0)
        merged.merge(sketch)
        column[bucket] = Tally(merged, before + metrics)

    def merge(self, other: SketchColumns, *, factor: int = 1) -> None:
        """Merge the sketches of `other`, whose buckets are `factor` times as narrow."""
        for name, column in other._columns.items():
            for bucket, tally in column.items():
                self.add(name, bucket // factor, *tally)

    def joined(self, first: int, end: int) -> SketchColumns:
        """Return the sketches from the bucket `first` up to before `end`, merged into one bucket with the number 0."""
        merged = SketchColumns()
        for name, column in self._columns.items():
            for bucket, tally in column.items():
                if first <= bucket < end:
                    merged.add(name, 0, *tally)
        return merged

    def tallies(self, name: str) -> Iterator[tuple[int, Tally]]:
        """Yield the buckets of a name, each with its merged sketch."""
        yield from self._columns.get(name, {}).items()

    def drop(self, first: int, end: int) -> None:
        """Drop the buckets from `first` up to before `end`."""
        for name, column in self._columns.items():
            self._columns[name] = {bucket: tally for bucket, tally in column.items() if not first <= bucket < end}

    def between(self, first: int, end: int) -> SketchColumns:
        """Return the sketches of the buckets from `first` up to before `end`; they stay those of this one."""
        part = SketchColumns()
        for name, column in self._columns.items():
            if found := {bucket: tally for bucket, tally in column.items() if first <= bucket < end}:
                part._columns[name] = found
        return part

    def percentiles(
        self, field: str, buckets: Sequence[int], counts: Sequence[int], lasts: Sequence[float]
    ) -> list[float] | None:
        """Return the percentile of all values in each bucket; None if the field is no percentile or lacks sketches.

        `counts` has the number of published values in each bucket, `lasts` the last of them. A single one is the
        percentile of its bucket as it was published. Of several, each must have come with its sketch.
        """
        if not self._columns or (named := percentile_in(field)) is None or named.share is None:
            return None
        column = self._columns.get(named.base)
        if column is None:
            return None
        found = []
        for bucket, count, last in zip(buckets, counts, lasts, strict=True):
            if count == 1:
                found.append(last)
                continue
            tally = column.get(bucket)
            if tally is None or tally.metrics < count or (value := tally.sketch.quantile(named.share)) is None:
                return None
            found.append(value)
        return found

    def packed(self) -> list[PackedSketch]:
        """Return the sketches as a payload stores them."""
        return [
            PackedSketch(name, bucket, tally.metrics, tally.sketch.encode())
            for name, column in self._columns.items()
            for bucket, tally in column.items()
        ]


class PackedSketch(msgspec.Struct, frozen=True, array_like=True):
    """One merged sketch in a payload."""

    name: str
    bucket: int
    metrics: int
    sketch: EncodedSketch


def unpack_sketches(packed: Sequence[PackedSketch]) -> SketchColumns:
    """Return the sketches of a payload."""
    columns = SketchColumns()
    for item in packed:
        columns.add(item.name, item.bucket, item.sketch, item.metrics)
    return columns
