"""Pack the columns of one key as the database stores them, and unpack them."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec

from metrics_stream.core.series.columns import Column, is_selected
from metrics_stream.core.series.sketch_columns import PackedSketch, SketchColumns, unpack_sketches


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
    nulls: dict[str, list[int]] = {}


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
    nulls = {field: column.nulls.tolist() for field, column in columns.items() if column.buckets and column.nulls}
    return zlib.compress(_encode_payload(_Payload(blocks, sketches.packed() if sketches else [], nulls)), level)


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
    for field, nulls in decoded.nulls.items():
        if field in columns:
            columns[field].nulls = array("q", nulls)
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
