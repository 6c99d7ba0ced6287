"""The totals of rows since the start of a recording: what tables of requests and errors need, and nothing over time.

A run may have tens of thousands of rows, of which columns for each second would fill the memory. An account is a few
numbers and one sketch. It is read as columns of two buckets, so that `counters.py` alone says what counters mean.
"""

from __future__ import annotations

import contextlib
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from metrics_stream.core.metrics.catalogue import ERROR, REQUEST
from metrics_stream.core.metrics.sketch import EncodedSketch, Sketch
from metrics_stream.core.series.columns import Column
from metrics_stream.core.series.counters import (
    AVERAGE,
    ELAPSED,
    FAILURES,
    FALLS_OF_STEPS,
    OCCURRENCES,
    RECEIVED_BYTES,
    REQUESTS,
    RESPONSE_TIMES,
    SUCCESSES,
)
from metrics_stream.core.series.packing import Unpacked
from metrics_stream.core.series.sketch_columns import SketchColumns

ROW_TYPES = (REQUEST.slug, ERROR.slug)
"""The metric types whose rows are tables of their own: a run may have thousands of them."""

SKETCH = "response_time_ms"
MAXIMUM = "max_response_time_ms"
MINIMUM = "min_response_time_ms"
THROUGHPUTS = ("throughput_tps", "transactions_per_second")
ERROR_RATES = ("error_rate", "failure_rate")

_COUNTERS = frozenset(
    {*REQUESTS, *FAILURES, *SUCCESSES, *RESPONSE_TIMES, *ELAPSED, *RECEIVED_BYTES, *OCCURRENCES},
)
_GAUGES = frozenset({MAXIMUM, MINIMUM, *THROUGHPUTS, *ERROR_RATES})

MAX_ACCOUNTS = 20_000
"""A book has at most so many rows: far more than the doors let through."""


class _Counter(msgspec.Struct, array_like=True, gc=False):
    """A counter: its first and last value, by how much it grew, how often it fell, and the sum of its values."""

    first: float
    last: float
    total: float
    gain: float = 0.0
    falls: int = 0
    values: int = 1

    def add(self, value: float) -> float:
        """Count a value, and return by how much the counter grew."""
        gain = value - self.last
        if gain < 0:
            self.falls += 1
            gain = value
        self.gain += gain
        self.last = value
        self.values += 1
        self.total += value
        return gain

    def column(self, first: int, last: int) -> Column:
        """Return a column that grew as the counter did."""
        # One that falls again and again counts each interval for itself.
        is_interval = self.falls >= 2 and self.falls * FALLS_OF_STEPS >= self.values - 1
        start, gain = (0.0, self.total) if is_interval else (self.first, self.gain)
        end = start + gain
        if first == last:
            return _column({first: self.values}, [start], [end], [end])
        return _column({first: 1, last: self.values - 1}, [start, start], [start, end], [start, end])


class _Gauge(msgspec.Struct, array_like=True, gc=False):
    """The values of a field that is no counter."""

    low: float
    high: float
    total: float
    last: float
    values: int = 1

    def add(self, value: float) -> None:
        """Add a value."""
        self.low = min(self.low, value)
        self.high = max(self.high, value)
        self.total += value
        self.last = value
        self.values += 1

    def column(self, bucket: int) -> Column:
        """Return a column with the values in one bucket."""
        column = _column({bucket: self.values}, [self.low], [self.high], [self.last])
        column.totals = array("d", [self.total])
        return column


def _column(counts: Mapping[int, int], lows: list[float], highs: list[float], lasts: list[float]) -> Column:
    """Return a column; `counts` has the number of values of each bucket. The totals are those of the last values."""
    column = Column()
    column.buckets, column.counts = array("q", counts), array("Q", counts.values())
    column.lows, column.highs, column.lasts = array("d", lows), array("d", highs), array("d", lasts)
    column.totals = column.lasts[:]
    return column


class _Account(msgspec.Struct, array_like=True, gc=False):
    """One row; instants are in seconds since 1970."""

    row: str
    first_at: float
    last_at: float
    counters: dict[str, _Counter] = {}
    gauges: dict[str, _Gauge] = {}
    weighted_ms: float = 0.0
    """The sum of the average response times but the first, each times the requests that it is of."""
    weight: float = 0.0
    first_mean_ms: float | None = None
    sketches: int = 0
    """The number of metrics with a sketch."""
    stored: EncodedSketch | None = None
    """Their merged sketch as it is stored; None while the book counts it."""


class RowBook:
    """The accounts of the rows that one source publishes of one metric type."""

    def __init__(self, payload: bytes | memoryview | None = None) -> None:
        """`payload` is what `pack` returned before."""
        accounts = [] if payload is None else _decode(zlib.decompress(payload))
        self._accounts = {account.row: account for account in accounts}
        self._sketches: dict[str, Sketch] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def add(self, row: str, timestamp: float, fields: Sequence[str], values: Sequence[float | None]) -> bool:
        """Count the numbers of a row; return False if there are too many rows for it.

        A value that is older than the newest one says nothing new of a counter.
        """
        account = self._accounts.get(row)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                return False
            account = self._accounts[row] = _Account(row, timestamp, timestamp, {}, {})
        elif timestamp < account.last_at:
            account.first_at = min(account.first_at, timestamp)
            return True
        account.last_at = timestamp
        # JSON allows integers that no float can hold.
        with contextlib.suppress(OverflowError):
            _count(account, fields, values)
        return True

    def add_sketch(self, row: str, encoded: EncodedSketch) -> None:
        """Merge the sketch of response times of a row that was added."""
        account = self._accounts.get(row)
        if account is None:
            return
        account.sketches += 1
        sketch = self._sketches.get(row)
        if sketch is None:
            sketch = self._sketches[row] = Sketch()
            if account.stored is not None:
                sketch.merge(account.stored)
        sketch.merge(encoded)

    def pack(self, *, level: int = 6) -> bytes:
        """Return the book as the database stores it."""
        for row, sketch in self._sketches.items():
            self._accounts[row].stored = sketch.encode()
        packed = zlib.compress(_encode(list(self._accounts.values())), level)
        # One copy of each sketch in memory is enough.
        for row in self._sketches:
            self._accounts[row].stored = None
        return packed

    def unpacked(self, bucket_seconds: int) -> Iterator[tuple[str, Unpacked]]:
        """Yield each row with its totals as columns in buckets of so many seconds."""
        for account in self._accounts.values():
            first, last = int(account.first_at // bucket_seconds), int(account.last_at // bucket_seconds)
            columns = {name: counter.column(first, last) for name, counter in account.counters.items()}
            for name, gauge in account.gauges.items():
                # Counters tell rates and means better.
                if name in _EXTREMES or not _REQUESTS.intersection(columns):
                    columns[name] = gauge.column(last)
            if account.weight and not _TIMES.intersection(columns):
                mean = account.weighted_ms / account.weight
                means = [account.first_mean_ms, mean] if first < last and account.first_mean_ms is not None else [mean]
                columns[AVERAGE] = _column({first: 1, last: 1} if len(means) == 2 else {last: 1}, means, means, means)
            sketches = SketchColumns()
            sketch = self._sketches.get(account.row, account.stored)
            if sketch is not None:
                sketches.add(SKETCH, last, sketch, account.sketches)
            yield account.row, Unpacked(columns, sketches)


def _count(account: _Account, fields: Sequence[str], values: Sequence[float | None]) -> None:
    average, new = None, 0.0
    counters, gauges = account.counters, account.gauges
    is_first = not counters
    for field, number in zip(fields, values, strict=True):
        if number is None:
            continue
        if field in _COUNTERS:
            value = float(number)
            if (counter := counters.get(field)) is None:
                counters[field] = _Counter(value, value, value)
            else:
                gain = counter.add(value)
                if field in _REQUESTS:
                    new = gain
        elif field in _GAUGES:
            value = float(number)
            if (gauge := gauges.get(field)) is None:
                gauges[field] = _Gauge(value, value, value, value)
            else:
                gauge.add(value)
        elif field == AVERAGE:
            average = float(number)
    if average is not None:
        _weigh(account, average, new, is_first=is_first)


def _weigh(account: _Account, average_ms: float, requests: float, *, is_first: bool) -> None:
    if is_first:
        account.first_mean_ms = average_ms
    elif requests > 0:
        account.weighted_ms += average_ms * requests
        account.weight += requests


_REQUESTS, _TIMES, _EXTREMES = frozenset(REQUESTS), frozenset(RESPONSE_TIMES), frozenset({MAXIMUM, MINIMUM})
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Account]).decode
