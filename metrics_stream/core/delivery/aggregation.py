"""Fold the metrics of an interval into one for each type, source and row, as mode `aggregate` delivers them.

Metrics are folded as they arrive, so memory grows with the number of different fields, not with that of metrics.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import msgspec

from metrics_stream.core.metrics.annotations import UNITS, WINDOWS
from metrics_stream.core.metrics.keys import AGENT_KEY
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.projection import AGENTS, Row, rows_in
from metrics_stream.core.metrics.summaries import SKETCHES, Fields, Rendered

# An interval has up to so many parts, so that a client that joins in the middle gets a summary of the metrics from then
# on. Joining parts takes as long as so many frames. A client that joins later also gets a bit of what came before it.
MAX_PARTS = 32


class _Document(msgspec.Struct):
    timestamp: str
    data: Any
    key: tuple[str, ...] | None = None
    units: dict[str, Any] | None = None
    windows: dict[str, Any] | None = None
    clock_ahead_seconds: float | None = None
    run: str | None = None


_decode = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode


class _Group:
    """The metrics of one type, source and row, as long as the source has the same active test run."""

    __slots__ = (
        *("clock_ahead_seconds", "count", "fields", "grown", "key", "other", "rows", "seconds", "sequence", "size"),
        *("timestamp", "units", "windows"),
    )

    sequence: int
    timestamp: str
    seconds: float
    clock_ahead_seconds: float | None

    def __init__(self) -> None:
        self.fields: Fields | None = None
        self.other: Any = None  # data that is no object
        self.rows: tuple[str, ...] = ()
        self.key: tuple[str, ...] = ()
        # What was stated last: a producer states the same in all of its metrics.
        self.units: dict[str, Any] | None = None
        self.windows: dict[str, Any] | None = None
        self.count = 0
        self.grown = 0
        self.size = 0

    def add(self, data: Any) -> None:
        """Fold the data of one metric, or the entry of one row, in."""
        if type(data) is dict:
            if self.fields is None:
                self.fields = Fields()
            self.grown += self.fields.fold(data)
        else:
            self.other = data
        self.count += 1

    def merge(self, later: _Group) -> None:
        """Fold in the metrics of a later group."""
        self.sequence, self.timestamp, self.seconds = later.sequence, later.timestamp, later.seconds
        self.clock_ahead_seconds = later.clock_ahead_seconds
        self.name_rows(later.key, later.rows)
        self.units, self.windows = later.units or self.units, later.windows or self.windows
        self.count += later.count
        self.other = later.other
        if later.fields is not None:
            if self.fields is None:
                self.fields = Fields()
            self.fields.merge(later.fields)

    def name_rows(self, key: tuple[str, ...], rows: tuple[str, ...]) -> None:
        """Note which rows the metrics are of."""
        self.key = key or self.key
        if self.rows != rows:
            self.rows = tuple(dict.fromkeys((*self.rows, *rows)))


_Key = tuple[str, str, str | None, str | None]


class Aggregate:
    """The metrics of one part of an interval."""

    def __init__(self) -> None:
        # In the order of their last change.
        self._groups: dict[_Key, _Group] = {}
        self.size = 0
        """About what this takes in memory and in a frame, in bytes."""

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, sequence: int, metric: Metric, body: bytes, *, adds_sketches: bool = True) -> None:
        """Fold in the metric whose projection is `body`; raise one of MALFORMED if the body is no metric.

        With `adds_sketches`, percentiles in the projection are computed from sketches that the projection left out.
        """
        document = _decode(body)
        data = document.data
        if adds_sketches and body is not metric.body and b'"sketches"' in metric.body:
            _add_sketches(data, _decode(metric.body).data, document.key)
        # The projection may have left out all agents.
        rows = () if type(data) is dict and not data.get(AGENTS) else metric.rows
        entries = rows_in(data, document.key) or [(None, data)]
        for row, entry in entries:
            key = (metric.metric_type, metric.source, row, document.run)
            group = self._groups.pop(key, None) or _Group()
            self._groups[key] = group
            group.sequence, group.timestamp, group.seconds = sequence, document.timestamp, metric.timestamp
            group.clock_ahead_seconds = document.clock_ahead_seconds
            group.name_rows(metric.key if rows else (), rows if row is None else (row,))
            group.units, group.windows = document.units or group.units, document.windows or group.windows
            group.add(entry)
            self.size -= group.size
            group.size = len(body) // len(entries) + group.grown
            self.size += group.size

    def drop_oldest(self, *, is_last: bool) -> str | None:
        """Drop the group changed longest ago and return its metric type; None if only one metric is left."""
        key, group = next(iter(self._groups.items()))
        if is_last and len(self._groups) == 1 and group.count == 1:
            return None
        self.size -= group.size
        del self._groups[key]
        return key[0]

    def merge(self, later: Aggregate) -> None:
        """Fold in a later part, without changing it."""
        for key, group in later._groups.items():
            mine = self._groups.pop(key, None) or _Group()
            mine.merge(group)
            self._groups[key] = mine

    def metrics(self, *, keeps_sketches: bool) -> Iterator[tuple[int, Metric]]:
        """Yield the summary for each type, source and row, with the sequence of the newest metric in it."""
        for (metric_type, source, row, run), group in self._groups.items():
            found = Rendered()
            data, windows = group.other, group.windows
            if group.fields is not None:
                data = group.fields.render(found, keeps_sketches=keeps_sketches)
                if windows and found.merged:
                    # It is the percentile of the interval now, not that of the window of one metric.
                    windows = {field: seconds for field, seconds in windows.items() if field not in found.merged}
            document: Row = {
                "metric_type": metric_type,
                "timestamp": group.timestamp,
                "source": source,
                "data": data if row is None else [data],
            }
            if group.key not in ((), AGENT_KEY):
                document["key"] = group.key
            document["summary"] = found.summary
            if group.units:
                document[UNITS] = group.units
            if windows:
                document[WINDOWS] = windows
            if found.worst:
                document["worst"] = found.worst
            if group.clock_ahead_seconds is not None:
                document["clock_ahead_seconds"] = group.clock_ahead_seconds
            if run is not None:
                document["run"] = run
            yield (
                group.sequence,
                Metric(metric_type, source, group.seconds, group.rows, _encode(document), group.key),
            )


class Interval:
    """The metrics of an interval, in parts that begin at each `cut`."""

    def __init__(self, start: int, keeps_sketches: bool) -> None:
        """Begin with the metric of sequence `start`; with `keeps_sketches` the data contains the merged sketches."""
        self._starts = [start]
        self._parts = [Aggregate()]
        self._keeps_sketches = keeps_sketches
        self._rendered: dict[int, list[tuple[int, Metric]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._parts)) if len(self._parts) > 1 else len(self._parts[0])

    @property
    def size(self) -> int:
        """About what this takes in memory and in a frame, in bytes."""
        return sum(part.size for part in self._parts) if len(self._parts) > 1 else self._parts[0].size

    def add(self, sequence: int, metric: Metric, body: bytes) -> None:
        """Fold in the metric whose projection is `body`; raise one of MALFORMED if the body is no metric."""
        if self._rendered:
            self._rendered = {}
        # If sketches are sent, those that the projection left out stay out: the client may not be allowed to see them.
        self._parts[-1].add(sequence, metric, body, adds_sketches=not self._keeps_sketches)

    def cut(self, sequence: int) -> None:
        """Begin a part with the next metric, which has this sequence."""
        if len(self._parts[-1]) and len(self._parts) < MAX_PARTS:
            self._starts.append(sequence)
            self._parts.append(Aggregate())
            self._rendered = {}

    def drop_oldest(self) -> str | None:
        """Drop the group changed longest ago and return its metric type; None if only one metric is left."""
        self._rendered = {}
        part = next((part for part in self._parts if len(part)), None)
        return None if part is None else part.drop_oldest(is_last=part is self._parts[-1])

    def since(self, sequence: int) -> list[tuple[int, Metric]]:
        """Return the summaries since the cut at `sequence`, each with the sequence of the newest metric in it."""
        first = max(0, bisect_right(self._starts, sequence) - 1)
        if first not in self._rendered:
            whole = self._parts[first]
            if first + 1 < len(self._parts):
                whole = Aggregate()
                for part in self._parts[first:]:
                    whole.merge(part)
            self._rendered[first] = list(whole.metrics(keeps_sketches=self._keeps_sketches))
        return self._rendered[first]


def _add_sketches(data: Any, whole: Any, key: tuple[str, ...] | None) -> None:
    """Add the sketches that a filter of fields left out, because the percentiles that it kept need them."""
    if type(data) is dict and type(whole) is dict:
        if SKETCHES in whole:
            data[SKETCHES] = whole[SKETCHES]
        return
    by_row = dict(rows_in(whole, key))
    for row, entry in rows_in(data, key):
        _add_sketches(entry, by_row.get(row), key)
