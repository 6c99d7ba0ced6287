"""One run while it is recorded: the state in memory between two writes.

All of it is in the database too, so that it can be dropped at any time and another process can continue.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from django.db.models import Max

from metrics_stream.core.clock_marks import Timing
from metrics_stream.core.metrics.annotations import Annotation
from metrics_stream.core.metrics.keys import make_storable
from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH, Metric
from metrics_stream.core.series.columns import Column, SeriesKey
from metrics_stream.core.series.folding import MAX_SERIES, Folder, Reading, has_numbers
from metrics_stream.core.series.packing import Unpacked, pack, unpack
from metrics_stream.core.series.shares import Owner
from metrics_stream.core.series.sketch_columns import Found, SketchColumns
from metrics_stream.models import MetricChunk, SeriesGroup, TestRun, TierChunk
from metrics_stream.runs.chunks import Recorded, pack_keys, pack_metrics, unpack_metrics
from metrics_stream.runs.coarse_tiers import CLOSED_LEVEL, OPEN_LEVEL, CoarseTiers, Place, Reach, TierRow
from metrics_stream.runs.progress import Progress
from metrics_stream.runs.run_times import RunTimes
from metrics_stream.runs.tiers import FINEST, MINUTE, row_start

# A chunk is closed at the first of these limits: a reader holds a whole chunk, and each write packs the open one again.
CHUNK_METRICS = 500
CHUNK_BYTES = 500_000
CHUNK_SECONDS = 60.0

# A minute is closed when nothing was added to it for this time; a later metric opens it again.
QUIET_MINUTE_SECONDS = 10.0
# It is also closed when this many later minutes of its key are open: timestamps may be anything.
MAX_OPEN_MINUTES = 3

# Beyond MAX_SERIES, each token, and each source that publishes without one, may still have so many, up to half
# of MAX_SERIES together: a producer that invents names takes no place of others.
RESERVED_SERIES = 500
# A run names at most so many types and sources of which series are left out.
MAX_LEFT_OUT = 100

_END_OF_TIME = 253_402_300_799

NO_ANNOTATIONS: Mapping[str, Annotation] = {}


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of one run that a write makes in the database."""

    chunks: list[MetricChunk]
    groups: list[SeriesGroup]
    """The groups that are new or have new fields."""
    rows: list[TierRow]
    columns: dict[str, Any]
    """The columns of TestRun."""

    @classmethod
    def of_columns(cls, columns: dict[str, Any]) -> Self:
        """Return a change of columns of TestRun alone."""
        return cls([], [], [], columns)


class OpenRun:
    """Collects the metrics of one run, and returns the changes to write."""

    def __init__(self, run: TestRun) -> None:
        """Continue from the state in the database."""
        self.pk = run.pk
        self.slug = run.slug
        self.progress = Progress(run)
        self._times = RunTimes(run)
        self._left_out = dict.fromkeys((slug, source) for slug, source in run.series_left_out)
        self._series_of: Counter[Owner] = Counter()
        self._load_chunk(run)
        self._load_tiers()
        self._coarse = CoarseTiers(run, self._groups)

    def _load_chunk(self, run: TestRun) -> None:
        self._finished: list[MetricChunk] = []
        self._chunk: list[Recorded] = []
        self._chunk_bytes = 0
        self._is_chunk_changed = False
        self._first_number = run.metrics_recorded
        newest = MetricChunk.objects.filter(run=run).order_by("-first_number").first()
        if newest is not None and newest.count < CHUNK_METRICS:
            self._chunk = unpack_metrics(newest.payload)
            self._chunk_bytes = sum(len(item.metric.body) for item in self._chunk)
            self._first_number = newest.first_number

    def _load_tiers(self) -> None:
        self._folder = Folder()
        self._sketches: dict[Place, SketchColumns] = {}
        self._changed: set[Place] = set()
        self._open: dict[Place, float] = {}
        """The minutes that may still grow, and when something was last added to each."""
        self._reopened: set[Place] = set()
        """The open minutes that were closed before: the database has more of them than the folder."""
        self._keys: dict[tuple[str, str, str | None], SeriesKey] = {}
        self._annotations: dict[SeriesKey, dict[str, Annotation]] = {}
        """What was stated about fields since the last write."""
        groups = {group.pk: group for group in SeriesGroup.objects.filter(run_id=self.pk)}
        self._groups = {key_of(group): group for group in groups.values()}
        for key, group in self._groups.items():
            self._series_of[Owner("", key.source)] += len(group.fields)
        self._series_count = sum(len(group.fields) for group in groups.values())
        rows = TierChunk.objects.filter(run_id=self.pk, bucket_seconds=FINEST)
        newest = rows.values_list("group_id").annotate(newest=Max("starts_at"))
        self._newest = {key_of(groups[group_id]): starts_at for group_id, starts_at in newest}
        for group_id, starts_at, payload in rows.filter(is_open=True).values_list("group_id", "starts_at", "payload"):
            place = (key_of(groups[group_id]), starts_at)
            self._restore(place, unpack(payload))
            self._open[place] = -math.inf

    def _restore(self, place: Place, stored: Unpacked) -> None:
        """Add what the database has of a minute, before everything in memory."""
        self._folder.put_before(place[0], stored.columns)
        if place in self._sketches:
            stored.sketches.merge(self._sketches[place])
        self._sketches[place] = stored.sketches

    @property
    def metrics_recorded(self) -> int:
        """The number of metrics that are recorded, or collected to be written next."""
        return self._first_number + len(self._chunk)

    # --- collecting ---

    def take(
        self,
        metric: Metric,
        published_at: float,
        readings: Iterable[Reading],
        sketches: Iterable[Found],
        now: float,
        *,
        timing: Timing,
        token: str = "",
        annotations: Mapping[str, Annotation] = NO_ANNOTATIONS,
    ) -> None:
        """Record one metric, which came with a token; `readings`, `sketches`, `annotations` are those of its body.

        `timing` is that of its source in its batch.
        """
        metric = self._times.place(metric, timing)
        self._add_to_chunk(metric, published_at)
        timestamp = metric.timestamp
        if not 0 <= timestamp <= _END_OF_TIME:
            return
        self._times.extend(timestamp)
        minute = row_start(FINEST, timestamp)
        for row, fields, values in readings:
            place = (self._find_key(metric.metric_type, metric.source, row), minute)
            # Nulls alone begin no minute: they can only end lines that are there.
            if has_numbers(values) or (fields and place in self._open):
                if place not in self._open and minute <= self._newest.get(place[0], -1):
                    self._reopened.add(place)
                self._folder.put(place[0], timestamp, fields, values, token)
                if annotations:
                    self._annotations.setdefault(place[0], {}).update(annotations)
                self._open[place] = now
                self._changed.add(place)
        for row, named in sketches:
            place = (self._find_key(metric.metric_type, metric.source, row), minute)
            # Without a number beside it, a sketch belongs to no percentile.
            if place in self._open:
                columns = self._sketches.setdefault(place, SketchColumns())
                for name, sketch in named.items():
                    columns.add(_make_storable(name), int(timestamp), sketch)

    def _find_key(self, metric_type: str, source: str, row: str | None) -> SeriesKey:
        raw = (metric_type, source, row)
        if (key := self._keys.get(raw)) is None:
            if len(self._keys) > MAX_SERIES:
                self._keys.clear()
            key = self._keys[raw] = SeriesKey(metric_type, _make_storable(source), row and make_storable(row))
        return key

    def _add_to_chunk(self, metric: Metric, published_at: float) -> None:
        chunk = self._chunk
        if chunk and (
            len(chunk) >= CHUNK_METRICS
            or self._chunk_bytes >= CHUNK_BYTES
            or published_at - chunk[0].published_at >= CHUNK_SECONDS
        ):
            self._finished.append(self._pack_chunk(CLOSED_LEVEL))
            self._first_number += len(chunk)
            self._chunk_bytes = 0
            # The clock of the history may be set back, but these times must show the order.
            published_at = max(published_at, chunk[-1].published_at)
            chunk = self._chunk = []
        elif chunk:
            published_at = max(published_at, chunk[-1].published_at)
        chunk.append(Recorded(metric, published_at))
        self._chunk_bytes += len(metric.body)
        self._is_chunk_changed = True

    # --- writing ---

    def changes(self, now: float, *, ends: bool = False) -> Changes:
        """Return what has to be written, and treat it as written; when the run `ends`, everything is closed."""
        for metric_type, source in self._folder.left_out:
            self._note_left_out(metric_type, source)
        due = self._find_due(now, ends=ends)
        minutes = self._load_minutes(self._changed | due)
        groups: dict[SeriesKey, SeriesGroup] = {}
        rows: list[TierRow] = []
        for (key, minute), part in list(minutes.items()):
            group, is_changed = self._find_group(key, part.columns)
            if not group.fields:
                del minutes[key, minute]
                continue
            if is_changed:
                groups[key] = group
            is_open = (key, minute) not in due
            payload = pack(*part, level=OPEN_LEVEL if is_open else CLOSED_LEVEL)
            rows.append(TierRow(group, FINEST, minute, is_open, payload))
            self._newest[key] = max(minute, self._newest.get(key, minute))
        closed = {place: part for place, part in minutes.items() if place in due}
        still_open = min((minute for key, minute in self._open if (key, minute) not in due), default=math.inf)
        rows += self._coarse.rows(closed, Reach(self._times.first_at, self._times.last_at, still_open, ends=ends))
        for key, minute in due:
            self._folder.drop(key, minute, minute + MINUTE)
            self._sketches.pop((key, minute), None)
            del self._open[key, minute]
        self._changed = set()
        self._annotations = {}
        return Changes(self._take_chunks(ends=ends), list(groups.values()), rows, self._make_run_columns())

    def _find_due(self, now: float, *, ends: bool) -> set[Place]:
        """Return the minutes to close."""
        if ends:
            return set(self._open)
        due = {place for place, touched_at in self._open.items() if now - touched_at >= QUIET_MINUTE_SECONDS}
        by_key = defaultdict(list)
        for key, minute in self._open:
            by_key[key].append(minute)
        for key, open_minutes in by_key.items():
            due.update((key, minute) for minute in sorted(open_minutes)[:-MAX_OPEN_MINUTES])
        return due

    def _load_minutes(self, places: set[Place]) -> dict[Place, Unpacked]:
        """Return the content of some minutes, with what the database has of those that were closed before."""
        for place, stored in self._coarse.load(FINEST, self._reopened):
            self._restore(place, stored)
        self._reopened = set()
        found = {}
        for key, minute in places:
            known = self._folder.columns(key)
            parts = {field: column.between(minute, minute + MINUTE) for field, column in known.items()}
            columns = {field: part for field, part in parts.items() if part.buckets}
            found[key, minute] = Unpacked(columns, self._sketches.get((key, minute), SketchColumns()))
        return found

    def _find_group(self, key: SeriesKey, columns: dict[str, Column]) -> tuple[SeriesGroup, bool]:
        """Return the group of a key, and whether it has to be saved; remove series past the limit from `columns`.

        When nothing of a new key remains, the group has no fields and is not stored: names may count up without end.
        """
        group = self._groups.get(key)
        is_changed = group is None
        if group is None:
            group = SeriesGroup(run_id=self.pk, metric_type=key.metric_type, source=key.source, row=key.row or "")
        known = set(group.fields)
        for field in [field for field in columns if field not in known]:
            if _make_storable(field) != field or not self._has_room(key, field):
                del columns[field]
                continue
            group.fields.append(field)
            self._series_count += 1
            is_changed = True
        is_changed = group.annotate(self._annotations.get(key, NO_ANNOTATIONS)) or is_changed
        if group.fields:
            self._groups[key] = group
        return group, is_changed

    def _has_room(self, key: SeriesKey, field: str) -> bool:
        """Return whether the owner of a new series may have it, and count it then."""
        account = self._folder.owner_of(key, field).account
        beyond = self._series_count >= MAX_SERIES
        if beyond and (self._series_count >= MAX_SERIES * 3 // 2 or self._series_of[account] >= RESERVED_SERIES):
            self._note_left_out(key.metric_type, key.source)
            return False
        self._series_of[account] += 1
        return True

    def _note_left_out(self, metric_type: str, source: str) -> None:
        if len(self._left_out) < MAX_LEFT_OUT:
            self._left_out[metric_type, source] = None

    def _take_chunks(self, *, ends: bool) -> list[MetricChunk]:
        chunks, self._finished = self._finished, []
        if self._chunk and (self._is_chunk_changed or ends):
            chunks.append(self._pack_chunk(CLOSED_LEVEL if ends else OPEN_LEVEL))
        self._is_chunk_changed = False
        return chunks

    def _pack_chunk(self, level: int) -> MetricChunk:
        chunk = self._chunk
        return MetricChunk(
            run_id=self.pk,
            first_number=self._first_number,
            count=len(chunk),
            first_at=chunk[0].published_at,
            last_at=chunk[-1].published_at,
            keys=pack_keys({item.metric.kind for item in chunk}),
            counts=_count_by_source(chunk),
            payload=pack_metrics(chunk, level=level),
        )

    def _make_run_columns(self) -> dict[str, Any]:
        return {
            "metrics_recorded": self.metrics_recorded,
            **self._times.columns(),
            **self.progress.columns(),
            **self._coarse.columns(),
            "series_left_out": list(self._left_out),
        }


def key_of(group: SeriesGroup) -> SeriesKey:
    """Return the key whose series the group holds."""
    return SeriesKey(group.metric_type, group.source, group.row or None)


def _count_by_source(chunk: Iterable[Recorded]) -> dict[str, dict[str, int]]:
    """Return the number of metrics by type and source."""
    counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (metric_type, source), count in Counter(
        (item.metric.metric_type, item.metric.source) for item in chunk
    ).items():
        counts[metric_type][_make_storable(source)] = count
    return counts


def _make_storable(text: str) -> str:
    """Return a text that every database can store in the column of a SeriesGroup."""
    return text.replace("\0", "\ufffd")[:MAX_TERM_LENGTH]
