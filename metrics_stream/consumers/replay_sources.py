"""The sources of replays: the history, and the recordings of test runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from channels.db import database_sync_to_async

from metrics_stream.access.grants import Access
from metrics_stream.access.visibility import visible_runs
from metrics_stream.consumers.replay import Moment, Pages, ReplaySource
from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.newest_rows import Kind
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.protocol.codes import ErrorCode
from metrics_stream.core.protocol.positions import HistoryBatch, Position, SourcesOf, tag_run, tag_runs
from metrics_stream.core.series.columns import SeriesColumns, SeriesKey, permitted_series
from metrics_stream.core.series.folding import matches
from metrics_stream.history import History
from metrics_stream.history.recent_series import RecentSeries
from metrics_stream.models import TestRun
from metrics_stream.pacing import Pace
from metrics_stream.runs import reader
from metrics_stream.runs import series as run_series
from metrics_stream.runs.span import recorded_span
from metrics_stream.runtime.run_sources import RunSources
from metrics_stream.runtime.runtime import Runtime

REPLAY_PAGE_METRICS = 1_000

# The newest metric of each kind at an instant is looked for in this much time before the instant. If one is not there,
# it is looked for in all that is kept, unless that is more metrics of a type than can be read in a tenth of a second.
NEWEST_SECONDS = 30.0
MAX_LOOKED_THROUGH = 5_000

# Clients know an instant no better: the one that they were sent may be this much later than it was.
MICROSECOND = 1e-6

# In threads of their own: a replay must not wait for a page that takes long, nor the page for a replay.
_read_metrics = database_sync_to_async(reader.metrics, thread_sensitive=False)
_read_newest = database_sync_to_async(reader.newest_before, thread_sensitive=False)
_read_series = database_sync_to_async(run_series.series, thread_sensitive=False)


async def open_replay_source(runtime: Runtime, access: Access, run: str | None) -> ReplaySource:
    """Return the recording of a run, or the history if `run` is None; raise ProtocolError if there is none."""
    if run is not None:
        found = await _find_run(access, run)
        if found is None:
            raise ProtocolError(ErrorCode.UNKNOWN_RUN, f"unknown run {quote(run)}; /runs/ lists those there are")
        return RecordingReplaySource(found)
    if not access.is_live:
        raise ProtocolError(ErrorCode.UNKNOWN_RUN, "name the run; the link shows one, and nothing else")
    if runtime.history is None or runtime.recent is None:
        raise ProtocolError(ErrorCode.INVALID_MESSAGE, "no history is kept here; only runs can be replayed")
    return HistoryReplaySource(
        runtime.history,
        runtime.recent,
        access.metric_types,
        runtime.run_sources,
        permit=access.live_permit,
        marks=runtime.clocks.marks,
    )


def _find_run_now(access: Access, slug: str) -> TestRun | None:
    try:
        return visible_runs(access).filter(slug=slug).first()
    except ValueError:  # a NUL in the slug
        return None


_find_run = database_sync_to_async(_find_run_now, thread_sensitive=False)


class HistoryMark(NamedTuple):
    """A position in the history, which may be somewhat before the instant at which the replay begins."""

    position: Position
    begins_at: float


class HistoryReplaySource:
    """The metrics that the history keeps; the end moves on with time."""

    run: str | None = None
    is_growing = True

    def __init__(
        self,
        history: History,
        recent: RecentSeries,
        metric_types: tuple[str, ...],
        run_sources: RunSources,
        *,
        permit: Permit,
        marks: ClockMarks,
    ) -> None:
        """`permit` says which runs the metrics may name."""
        self._run_sources = run_sources
        self._marks = marks
        self._permit = permit
        self._history = history
        self._recent = recent
        self._metric_types = metric_types

    async def bounds(self) -> tuple[float, float]:
        """Return when the oldest kept metric was published, and now, both by the clock of the history."""
        now = await self._history.clock()
        oldest = await self._history.oldest_at(self._metric_types)
        return (now if oldest is None else oldest), now

    async def mark_at(self, at: float) -> HistoryMark:
        """Return the mark before the metrics published at an instant or later."""
        return HistoryMark(await self._history.since_time(self._metric_types, at - MICROSECOND), at)

    async def read(self, mark: HistoryMark) -> Pages:
        """Return what follows a mark."""
        page = await self._history.since(mark.position, max_metrics=REPLAY_PAGE_METRICS)
        await self._run_sources.learn(page.batches, self._permit)
        moments = [
            Moment(batch.published_at, tag_runs(self._marks.mark(batch), self._run_sources.get))
            for batch in page.batches
            if not _is_before(batch, mark.begins_at)
        ]
        return Pages(moments, HistoryMark(page.position, mark.begins_at), page.is_last)

    async def newest_at(self, at: float) -> list[Metric]:
        """Return the newest metric of each kind that was published before an instant, in the order of publishing."""
        found: dict[Kind, _Found] = {}
        came_since: dict[str, set[Kind]] = {}
        newest = await self._history.newest(self._metric_types)
        await self._run_sources.learn(newest, self._permit)
        pace = Pace()
        for batch in newest:
            if _is_before(batch, at):
                found.update(_each_of(self._marks.mark(batch), self._run_sources.get))
            else:
                came_since.setdefault(batch.metric_type, set()).add(batch.metrics[0].kind)
            await pace.pause_if_due()
        # The newest metric of other kinds came after the instant, so search back for an older one: a short search finds
        # the kinds that come often, and only the remaining ones need a longer search.
        until: Position | None = None
        for begins_at in (at - NEWEST_SECONDS, at - 4 * NEWEST_SECONDS, 0.0):
            missing = [item for item, keys in came_since.items() if keys - found.keys()]
            if not missing:
                break
            begin = await self._history.since_time(missing, begins_at)
            if until is not None:
                begin = _without_long_searches(begin, until)
            older: dict[Kind, _Found] = {}
            async for batch in self._published_before(at, begin, until):
                older.update(_each_of(self._marks.mark(batch), self._run_sources.get))
                await pace.pause_if_due()
            found = {**older, **found}
            until = begin
        return [item.metric for item in sorted(found.values(), key=lambda item: (item.order, item.offset))]

    async def _published_before(
        self, at: float, position: Position, until: Position | None
    ) -> AsyncIterator[HistoryBatch]:
        is_last = not position.offsets
        while not is_last:
            page = await self._history.since(position, until=until, max_metrics=REPLAY_PAGE_METRICS)
            await self._run_sources.learn(page.batches, self._permit)
            for batch in page.batches:
                if not _is_before(batch, at):
                    return
                yield batch
            position, is_last = page.position, page.is_last

    async def series(self, selection: Selection, since: float, until: float, max_points: int) -> list[SeriesColumns]:
        """Return the series of a selection between two instants."""
        return await self._recent.series(selection, since, until, max_points)


class _Found(NamedTuple):
    """A metric and where it stands in the history."""

    metric: Metric
    order: int
    offset: int


def _each_of(batch: HistoryBatch, sources_of: SourcesOf) -> dict[Kind, _Found]:
    """Return the newest metric of each kind in a batch."""
    tagged = enumerate(tag_runs(batch, sources_of), batch.first)
    return {metric.kind: _Found(metric, batch.order, offset) for offset, metric in tagged}


def _without_long_searches(begin: Position, until: Position) -> Position:
    """Return `begin` without the types that have too many metrics up to `until`, or that are not in both."""
    return Position(
        begin.epoch,
        {
            item: offset
            for item, offset in begin.offsets.items()
            if item in until.offsets and until.offsets[item] - offset <= MAX_LOOKED_THROUGH
        },
    )


def _is_before(batch: HistoryBatch, at: float) -> bool:
    return batch.published_at < at - MICROSECOND


class RecordingReplaySource:
    """The recording of one test run."""

    def __init__(self, run: TestRun) -> None:
        self.run: str | None = run.slug
        self._run = run
        self._is_deleted = False

    @property
    def is_growing(self) -> bool:
        """Whether the run is still being recorded."""
        if self._is_deleted:
            return False
        return self._run.started_at is not None and self._run.recording_ended_at is None

    async def bounds(self) -> tuple[float, float]:
        """Return when the first and the last metric were recorded; of an empty run, when it began and ended."""
        run = self._run
        try:
            await run.arefresh_from_db(fields=["first_at", "last_at", "started_at", "ended_at", "recording_ended_at"])
        except TestRun.DoesNotExist:
            # The replay ends.
            self._is_deleted = True
        begin = (run.started_at or run.created_at).timestamp()
        end = None if run.ended_at is None else run.ended_at.timestamp()
        first, last = recorded_span(run) or (begin, begin if end is None else end)
        # A timestamp is when a metric was measured; the replay shows it when it was published, a moment later.
        return min(first, begin), max(last, last if end is None else end)

    async def mark_at(self, at: float) -> int:
        """Return the number of the first metric that was published at an instant or later."""
        page = await _read_metrics(self._run, since=at, limit=1)
        return page.cursor - len(page.items)

    async def read(self, mark: int) -> Pages:
        """Return the moments after a number."""
        page = await _read_metrics(self._run, cursor=mark, limit=REPLAY_PAGE_METRICS)
        tagged = [Moment(item.published_at, [tag_run(item.metric, self._run.slug)]) for item in page.items]
        is_last = page.is_last
        if is_last and self.is_growing:
            await self.bounds()
            # Metrics recorded between the two queries, up to the end of the run, are not in this page.
            is_last = self.is_growing
        return Pages(tagged, page.cursor, is_last)

    async def newest_at(self, at: float) -> list[Metric]:
        """Return the newest metric of each kind that was published before an instant."""
        newest = await _read_newest(self._run, at)
        return [tag_run(metric, self._run.slug) for metric in newest]

    async def series(self, selection: Selection, since: float, until: float, max_points: int) -> list[SeriesColumns]:
        """Return the series of a selection between two instants."""
        permit = selection.permit

        def selects(key: SeriesKey) -> bool:
            is_wanted = matches(key, selection.metric_types, selection.filters)
            return is_wanted and permit.covers(key.metric_type, key.source)

        found = await _read_series(
            self._run,
            fields=selection.filters.fields,
            selects=selects,
            since=since,
            until=until,
            max_points=max_points,
        )
        return permitted_series(found, permit)
