"""Chunks: some hundred whole metrics of a recording, packed together in the order of publishing.

Bodies resemble each other, so that compressed together they take a fraction of their size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import msgspec

from metrics_stream.core.metrics.keys import restore_rows
from metrics_stream.core.metrics.metric import Metric


class Recorded(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One metric of a recording, and when the history got it, in seconds since 1970; never before its predecessor."""

    metric: Metric
    published_at: float


class _Chunk(msgspec.Struct, array_like=True, gc=False):
    first_at: float
    milliseconds: list[int]
    metrics: list[Metric]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Chunk).decode


def pack_metrics(recorded: list[Recorded], *, level: int = 6) -> bytes:
    """Return metrics as the database stores them, times to the millisecond; `unpack_metrics` is the inverse."""
    first_at = recorded[0].published_at
    milliseconds = [round((item.published_at - first_at) * 1000) for item in recorded]
    data = _encode(_Chunk(first_at, milliseconds, [item.metric for item in recorded]))
    # Z_FILTERED ignores short matches, which digits are full of: the result is a tenth smaller.
    compressor = zlib.compressobj(level, strategy=zlib.Z_FILTERED)
    return compressor.compress(data) + compressor.flush()


def unpack_metrics(payload: bytes | memoryview) -> list[Recorded]:
    """Return the metrics that `pack_metrics` packed."""
    chunk = _decode(zlib.decompress(payload))
    first_at = chunk.first_at
    return [
        Recorded(metric, first_at + after / 1000)
        for metric, after in zip(restore_rows(chunk.metrics), chunk.milliseconds, strict=True)
    ]


def hash_key(key: tuple[str, str, tuple[str, ...]]) -> int:
    """Return a hash of 32 bits of the kind of a metric, the same on every machine."""
    return zlib.crc32(_encode(key))


def pack_keys(keys: Iterable[tuple[str, str, tuple[str, ...]]]) -> bytes:
    """Return the hashes of keys as the database stores them."""
    return b"".join([number.to_bytes(4, "little") for number in sorted({hash_key(key) for key in keys})])


def unpack_keys(data: bytes | memoryview) -> set[int]:
    """Return the hashes that `pack_keys` packed."""
    return {int.from_bytes(data[place : place + 4], "little") for place in range(0, len(data), 4)}
