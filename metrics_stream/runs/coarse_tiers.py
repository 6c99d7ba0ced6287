"""Make the rows of the coarser tiers of one run while it is recorded.

A minute that is closed replaces what the tiers of 10 s and 60 s have of it. A bucket of the wide tiers is made once, of
the next finer tier, when it is over, and again when one of its minutes is closed late: so a recorder does little more
for them, and a run of three weeks is read from some hundred buckets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from metrics_stream.core.series.columns import Column, SeriesKey, bounds_of
from metrics_stream.core.series.packing import Unpacked, pack, unpack
from metrics_stream.core.series.sketch_columns import SketchColumns
from metrics_stream.models import SeriesGroup, TestRun, TierChunk
from metrics_stream.runs.tiers import COARSE, MINUTE, WIDE, finer_than, row_start, span_seconds

# Levels of compression. What still grows is packed again with every write.
OPEN_LEVEL = 1
CLOSED_LEVEL = 6

# A wide bucket is over when metrics of so much later have come: most minutes of it are closed by then.
SETTLE_SECONDS = 120.0

# One write makes wide buckets of at most so many rows of each series group; a run that an earlier version began to
# record has all of its rows to catch up with.
MAX_STEPS = 16

Place = tuple[SeriesKey, int]
"""A key, and the start of a minute or of a row."""


@dataclass(frozen=True, slots=True)
class TierRow:
    """A row of a tier to be written."""

    group: SeriesGroup
    bucket_seconds: int
    starts_at: int
    is_open: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reach:
    """Up to where a run is recorded: the earliest and the latest instant, and the start of the earliest open minute."""

    first_at: float
    last_at: float
    open_from: float
    ends: bool

    def edge(self, bucket_seconds: int) -> int:
        """Return the number of the first bucket that is not over."""
        if self.ends:
            return int(self.last_at // bucket_seconds) + 1
        return int(min(self.last_at - SETTLE_SECONDS, self.open_from) // bucket_seconds)


class CoarseTiers:
    """The tiers of one run above the finest."""

    def __init__(self, run: TestRun, groups: Mapping[SeriesKey, SeriesGroup]) -> None:
        """`groups` are those of the run; the caller adds new ones before it gives their minutes."""
        self._run_id = run.pk
        self._groups = groups
        self._edges = {int(tier): edge for tier, edge in run.tiers_until.items()}

    def columns(self) -> dict[str, Any]:
        """Return the columns of TestRun to write."""
        return {"tiers_until": {str(tier): edge for tier, edge in self._edges.items()}}

    def rows(self, closed: Mapping[Place, Unpacked], reach: Reach) -> Iterator[TierRow]:
        """Yield the rows that contain the closed minutes, and those with wide buckets that are over now."""
        rows: dict[Place, Unpacked] = {}
        for tier in COARSE:
            rows = self._put_minutes(tier, closed)
            yield from self._pack(tier, rows)
        if not self._is_wide_due(closed, reach):
            return
        for tier in WIDE:
            rows = self._make_wide(tier, closed, rows, reach)
            yield from self._pack(tier, rows)

    def _pack(self, tier: int, rows: Mapping[Place, Unpacked]) -> Iterator[TierRow]:
        for (key, starts_at), row in rows.items():
            yield TierRow(self._groups[key], tier, starts_at, False, pack(*row, level=CLOSED_LEVEL))

    def _put_minutes(self, tier: int, closed: Mapping[Place, Unpacked]) -> dict[Place, Unpacked]:
        into: dict[Place, list[int]] = defaultdict(list)
        for key, minute in closed:
            into[key, row_start(tier, minute)].append(minute)
        rows = dict(self.load(tier, into.keys()))
        for (key, starts_at), minutes in into.items():
            row = rows.setdefault((key, starts_at), Unpacked({}, SketchColumns()))
            for minute in minutes:
                put_minute(row, minute, closed[key, minute], tier)
        return rows

    # --- wide buckets ---

    def _is_wide_due(self, closed: Iterable[Place], reach: Reach) -> bool:
        narrowest = WIDE[0]
        if reach.first_at > reach.last_at:
            return False
        edge = self._edges.get(narrowest)
        return (
            edge is None
            or reach.ends
            or reach.edge(narrowest) > edge
            or any(minute < edge * narrowest for _, minute in closed)
        )

    def _make_wide(
        self, tier: int, closed: Iterable[Place], finer_rows: Mapping[Place, Unpacked], reach: Reach
    ) -> dict[Place, Unpacked]:
        """Return the rows of a wide tier that change; `finer_rows` are the rows of the finer tier that have changed."""
        finer = finer_than(tier)
        edge = self._edges.get(tier, int(reach.first_at // tier))
        end = max(edge, reach.edge(tier))
        if finer in self._edges:
            # A bucket is made of whole ones.
            end = max(
                edge,
                min(end, -(-self._edges[finer] * finer // tier) if reach.ends else self._edges[finer] * finer // tier),
            )
        # The buckets to make, by the start of the row that has their parts.
        wanted: dict[int, dict[SeriesKey, set[int]]] = defaultdict(lambda: defaultdict(set))
        for key, minute in closed:
            if minute // tier < edge:
                wanted[row_start(finer, minute)][key].add(minute // tier)
        steps = self._find_steps(finer, edge * tier, end * tier, finer_rows)
        if not reach.ends and len(steps) > MAX_STEPS:
            steps = steps[:MAX_STEPS]
            end = min(end, (steps[-1] + span_seconds(finer)) // tier)
        for starts_at in steps:
            over = range(max(edge, starts_at // tier), min(end, (starts_at + span_seconds(finer)) // tier))
            for key in self._groups:
                wanted[starts_at][key].update(over)
        found: dict[Place, Unpacked] = {}
        for starts_at, buckets in sorted(wanted.items()):
            self._widen_rows(tier, starts_at, buckets, finer_rows, found)
        self._edges[tier] = end
        return found

    def _find_steps(self, finer: int, since: int, until: int, finer_rows: Iterable[Place]) -> list[int]:
        """Return the starts of the rows of the finer tier between two instants, in order."""
        if until <= since:
            return []
        first = row_start(finer, since)
        stored = TierChunk.objects.filter(
            run_id=self._run_id, bucket_seconds=finer, starts_at__gte=first, starts_at__lt=until
        ).values_list("starts_at", flat=True)
        return sorted({*stored.distinct(), *(start for _, start in finer_rows if first <= start < until)})

    def _widen_rows(
        self,
        tier: int,
        starts_at: int,
        wanted: Mapping[SeriesKey, Collection[int]],
        finer_rows: Mapping[Place, Unpacked],
        found: dict[Place, Unpacked],
    ) -> None:
        """Make the wanted buckets of the finer rows that begin at an instant, and put them into the rows of `found`."""
        finer = finer_than(tier)
        sources = dict(self.load(finer, {(key, starts_at) for key in wanted if (key, starts_at) not in finer_rows}))
        sources |= {place: row for place, row in finer_rows.items() if place[1] == starts_at and place[0] in wanted}
        into = row_start(tier, starts_at)
        missing = {(key, into) for key, _ in sources if (key, into) not in found}
        found |= {place: Unpacked({}, SketchColumns()) for place in missing} | dict(self.load(tier, missing))
        for (key, _), source in sources.items():
            for bucket in sorted(wanted[key]):
                put_bucket(found[key, into], bucket, source, tier // finer)

    # --- what is stored ---

    def load(self, bucket_seconds: int, places: Collection[Place]) -> Iterator[tuple[Place, Unpacked]]:
        """Yield the stored rows of a tier at some places."""
        keys = {group.pk: key for key, _ in places if (group := self._groups.get(key)) is not None and group.pk}
        if not keys:
            return
        rows = TierChunk.objects.filter(
            group_id__in=keys, bucket_seconds=bucket_seconds, starts_at__in={starts_at for _, starts_at in places}
        )
        for group_id, starts_at, payload in rows.values_list("group_id", "starts_at", "payload"):
            if (place := (keys[group_id], starts_at)) in places:
                yield place, unpack(payload)


def put_minute(row: Unpacked, minute: int, finest: Unpacked, bucket_seconds: int) -> None:
    """Put a minute of the finest tier into a row of a coarser one; it replaces what the row has of that minute."""
    first, end = minute // bucket_seconds, (minute + MINUTE) // bucket_seconds
    for field, column in finest.columns.items():
        wide = column.widened(bounds_of(column.buckets, bucket_seconds))
        row.columns.setdefault(field, Column()).replace(first, end, wide)
    row.sketches.drop(first, end)
    row.sketches.merge(finest.sketches, factor=bucket_seconds)


def put_bucket(row: Unpacked, bucket: int, finer: Unpacked, factor: int) -> None:
    """Put one bucket, made of `factor` buckets of a finer row, into a row; it replaces what the row has of it."""
    first, end = bucket * factor, (bucket + 1) * factor
    for field, column in finer.columns.items():
        part = column.between(first, end)
        if part.buckets or part.nulls:
            wide = part.widened(bounds_of(part.buckets, factor))
            row.columns.setdefault(field, Column()).replace(bucket, bucket + 1, wide)
    row.sketches.drop(bucket, bucket + 1)
    row.sketches.merge(finer.sketches.between(first, end), factor=factor)
