"""Fold every number in metrics into columns, in buckets of time.

Numbers are found in objects at any depth, under dotted paths, and in rows. Other lists, texts and
booleans are left out, because no chart can draw them. A null where numbers were before ends a line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.annotations import (
    MAX_ANNOTATED_FIELDS,
    UNSTATED,
    Annotation,
    annotations_in,
    stated_for,
)
from metrics_stream.core.metrics.keys import row_test
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.paths import look_up
from metrics_stream.core.metrics.projection import AGENTS, MALFORMED, decode_body, split_rows
from metrics_stream.core.metrics.summaries import SKETCHES
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.columns import Column, SeriesColumns, SeriesKey, downsample, make_grid
from metrics_stream.core.series.shares import Owner, SeriesShares
from metrics_stream.core.series.sketch_columns import Found, sketches_of

# More series than dashboards can show. It stops a producer that puts a counter into its field names.
MAX_SERIES = 20_000

# Of so many types and sources it is known that series are left out.
MAX_LEFT_OUT = 1_000

NO_FILTERS = Filters()

Reading = tuple[str | None, tuple[str, ...], tuple[float | None, ...]]
"""The row, or None; the fields; the value of each field, None for null."""


_NUMBERS = frozenset({int, float, NoneType})


def readings(body: bytes) -> list[Reading]:
    """Return the numbers and nulls in the body of a metric, separately for each row."""
    try:
        decoded = decode_body(body)
    except MALFORMED:
        return []
    data = decoded.data
    if type(data) is dict and AGENTS not in data:  # most metrics; the fold runs for each one
        return [(None, *_numbers(data))]
    return [(row, *_numbers(entry)) for row, entry in split_rows(data, decoded.key)]


def read_body(body: bytes) -> tuple[list[Reading], list[Found]]:
    """Return what `readings` and `sketches_in` return of a body, and decode it once."""
    try:
        decoded = decode_body(body)
    except MALFORMED:
        return [], []
    rows = split_rows(decoded.data, decoded.key)
    return [(row, *_numbers(entry)) for row, entry in rows], sketches_of(rows) if b'"sketches"' in body else []


def has_numbers(values: Iterable[float | None]) -> bool:
    """Return whether there are values besides nulls."""
    return any(value is not None for value in values)


def _numbers(data: dict[str, Any]) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    values = tuple(data.values())
    if _NUMBERS.issuperset(map(type, values)):
        return tuple(data), values
    fields: list[str] = []
    numbers: list[float | None] = []
    if _collect(data, "", fields, numbers):
        # A key with dots and a path may have the same name; the fields are what `look_up` finds.
        found = {field: look_up(data, field) for field in fields}
        seen = {field: value for field, value in found.items() if value is None or type(value) in _NUMBERS}
        return tuple(seen), tuple(seen.values())
    return tuple(fields), tuple(numbers)


def _collect(data: dict[str, Any], prefix: str, fields: list[str], numbers: list[float | None]) -> bool:
    """Append the numbers and nulls in an object; return whether a key contains a dot."""
    has_dots = False
    for name, value in data.items():
        kind = type(value)
        has_dots = has_dots or "." in name
        if kind is float or kind is int or value is None:
            fields.append(prefix + name)
            numbers.append(value)
        elif kind is dict and name != SKETCHES:
            has_dots = _collect(value, f"{prefix}{name}.", fields, numbers) or has_dots
    return has_dots


def matches(key: SeriesKey, metric_types: Collection[str], filters: Filters) -> bool:
    """Return whether a selection includes a key; as for live metrics, terms on rows do not narrow data without."""
    is_kept = (not metric_types or key.metric_type in metric_types) and (
        not filters.sources or key.source in filters.sources
    )
    if not is_kept or not (filters.agent_ids or filters.keys):
        return is_kept
    return row_test(frozenset(filters.agent_ids), filters.terms).keeps(key.row)


class _Group:
    """The columns of one key by field, and the values for the newest bucket."""

    __slots__ = ("annotations", "bucket", "columns", "key", "owner", "rows", "stated")

    def __init__(self, key: SeriesKey) -> None:
        self.key = key
        self.owner = Owner("", key.source)
        """Who published the rows."""
        self.columns: dict[str, Column] = {}
        self.annotations: dict[str, Annotation] = {}
        self.stated: tuple[tuple[str, ...], Mapping[str, Annotation]] | None = None
        """The fields of the last metric that stated something about fields, and what it stated."""
        self.bucket = -1
        self.rows: list[tuple[tuple[str, ...], tuple[float | None, ...]]] = []


class Folder:
    """Folds metrics as they arrive and returns their series over time.

    Holds at most `max_series` series, and divides them among their owners as SeriesShares does. `left_out` has the
    metric types and sources of which series are missing, with the newest bucket in which one was.
    """

    def __init__(self, *, bucket_seconds: int = 1, max_series: int = MAX_SERIES) -> None:
        self.bucket_seconds = bucket_seconds
        self.left_out: LruDict[tuple[str, str], int] = LruDict(MAX_LEFT_OUT)
        self._shares: SeriesShares[tuple[SeriesKey, str]] = SeriesShares(max_series)
        self._groups: dict[tuple[str, str, str | None], _Group] = {}

    def add(self, metric: Metric, token: str = "") -> None:
        """Fold in one metric, which came with a token."""
        annotations = annotations_in(metric.body)
        for row, fields, values in readings(metric.body):
            key = (metric.metric_type, metric.source, row)
            self.put(key, metric.timestamp, fields, values, token)
            if annotations and (group := self._groups.get(key)) is not None and group.stated != (fields, annotations):
                # A producer states the same with each metric.
                group.stated = fields, annotations
                known = group.annotations
                for field in fields:
                    stated = stated_for(annotations, field)
                    if stated is not UNSTATED and (field in known or len(known) < MAX_ANNOTATED_FIELDS):
                        known[field] = stated

    def put(
        self,
        key: tuple[str, str, str | None],
        timestamp: float,
        fields: tuple[str, ...],
        values: tuple[float | None, ...],
        token: str = "",
    ) -> None:
        """Fold in the values that `readings` found for one key; `token` is empty for producers without one."""
        group = self._groups.get(key)
        bucket = int(timestamp // self.bucket_seconds)
        if group is None:
            if self._shares.is_full and self._shares.find_victim(Owner(token, key[1])) is None:
                self._leave_out(key, bucket)
                return
            group = self._groups[key] = _Group(SeriesKey(*key))
        is_same_owner = token == group.owner.token
        if bucket == group.bucket and is_same_owner:
            group.rows.append((fields, values))
            return
        self._settle(group)
        if not is_same_owner:
            group.owner = Owner(token, key[1])
            if bucket == group.bucket:
                group.rows.append((fields, values))
                return
        if bucket > group.bucket:
            group.bucket = bucket
            group.rows.append((fields, values))
        else:  # the metric is late
            self._append(group, bucket, [(field, (value,)) for field, value in zip(fields, values, strict=True)])

    def _settle(self, group: _Group) -> None:
        """Move the values for the newest bucket to the columns."""
        rows = group.rows
        if not rows:
            return
        group.rows = []
        fields, values = rows[0]
        if len(rows) == 1:
            self._append(group, group.bucket, [(field, (value,)) for field, value in zip(fields, values, strict=True)])
        elif all(row[0] == fields for row in rows):
            self._append(group, group.bucket, zip(fields, zip(*[row[1] for row in rows], strict=True), strict=True))
        else:
            mixed: dict[str, list[float | None]] = {}
            for row in rows:
                for field, value in zip(*row, strict=True):
                    mixed.setdefault(field, []).append(value)
            self._append(group, group.bucket, mixed.items())

    def _append(self, group: _Group, bucket: int, found: Iterable[tuple[str, Sequence[float | None]]]) -> None:
        columns = group.columns
        for field, published in found:
            column = columns.get(field)
            values: Sequence[Any] = published
            if None in published:
                values = [value for value in published if value is not None]
                # A field that never had a number has no line that could end.
                if column is not None:
                    column.add_null(bucket)
                if not values:
                    continue
            if column is None:
                if not self._make_room(group.owner):
                    self._leave_out(group.key, bucket)
                    continue
                self._shares.add((group.key, field), group.owner)
                column = columns[field] = Column()
            try:
                column.add(bucket, values)
            except OverflowError:
                # JSON allows integers that no float can hold. No chart can draw them.
                continue

    def _make_room(self, owner: Owner) -> bool:
        """Return whether an owner may have one more series, after taking one from another if nothing is free."""
        if not self._shares.is_full:
            return True
        victim = self._shares.find_victim(owner)
        if victim is None:
            return False
        key, field = victim
        columns = self._groups[key].columns
        buckets = columns[field].buckets
        self._leave_out(key, buckets[-1] if buckets else 0)
        self._remove(key, columns, field)
        return True

    def _leave_out(self, key: tuple[str, str, str | None], bucket: int) -> None:
        place = key[0], key[1]
        self.left_out.put(place, max(bucket, self.left_out.get(place, bucket)))

    def _remove(self, key: SeriesKey, columns: dict[str, Column], field: str) -> None:
        del columns[field]
        group = self._groups[key]
        group.annotations.pop(field, None)
        group.stated = None
        self._shares.remove((key, field))

    def owner_of(self, key: SeriesKey, field: str) -> Owner:
        """Return the owner of a series."""
        return self._shares.owner_of((key, field))

    def columns(self, key: SeriesKey) -> Mapping[str, Column]:
        """Return the current columns of one key by field; they belong to the folder."""
        group = self._groups.get(key)
        if group is None:
            return {}
        self._settle(group)
        return group.columns

    def put_before(self, key: SeriesKey, columns: Mapping[str, Column]) -> None:
        """Add columns whose values are older than all that was added; they belong to the folder from now on."""
        group = self._groups.setdefault(key, _Group(key))
        self._settle(group)
        for field, column in columns.items():
            if not column.buckets:
                continue
            if (newer := group.columns.get(field)) is None:
                self._shares.add((group.key, field), group.owner)
                newer = group.columns[field] = Column()
            first, end = column.buckets[0], column.buckets[-1] + 1
            column.merge(newer.between(first, end))
            newer.replace(first, end, column)
            group.bucket = max(group.bucket, end - 1)

    def drop(self, key: SeriesKey, first: int, end: int) -> None:
        """Drop the buckets of one key from `first` up to before `end`."""
        if (group := self._groups.get(key)) is None:
            return
        self._settle(group)
        for field, column in list(group.columns.items()):
            column.replace(first, end, Column())
            if not column.buckets:
                self._remove(group.key, group.columns, field)
        if not group.columns:
            del self._groups[group.key]

    def forget_left_out(self, end: int) -> None:
        """Forget what was left out before the bucket `end`."""
        for place, bucket in list(self.left_out.items()):
            if bucket < end:
                del self.left_out[place]

    def bucket_of(self, at: float) -> int:
        """Return the number of the bucket that contains an instant."""
        return int(at // self.bucket_seconds)

    @property
    def keys(self) -> list[SeriesKey]:
        """All keys that have series."""
        return [group.key for group in self._groups.values()]

    def series(
        self,
        *,
        since: float,
        until: float,
        metric_types: Collection[str] = (),
        filters: Filters = NO_FILTERS,
        max_points: int = 300,
    ) -> list[SeriesColumns]:
        """Return the series between two instants, on one grid of at most `max_points` buckets.

        `metric_types` and `filters` narrow them as they narrow live metrics; an empty one narrows nothing.
        """
        return list(
            self.each_series(
                since=since, until=until, metric_types=metric_types, filters=filters, max_points=max_points
            )
        )

    def each_series(
        self, *, since: float, until: float, metric_types: Collection[str], filters: Filters, max_points: int
    ) -> Iterator[SeriesColumns]:
        """Yield the same series one by one; metrics that are added or dropped meanwhile may be included or not."""
        grid = make_grid(since, until, bucket_seconds=self.bucket_seconds, max_points=max_points)
        for group in list(self._groups.values()):
            if matches(group.key, metric_types, filters):
                self._settle(group)
                yield from downsample(
                    group.key,
                    group.columns,
                    grid,
                    bucket_seconds=self.bucket_seconds,
                    fields=filters.fields,
                    annotations=group.annotations,
                    # As on a page that has stayed open: the last value of a bucket, between the least and the greatest.
                    takes_worst=False,
                )
