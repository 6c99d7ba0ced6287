"""The intake passes published metrics to the hub: once, in the order of the history, with losses filled in.

A channel layer can lose a message unnoticed, or deliver it twice. The places of batches in the history show both.
Without a history the numbers of the producers do, and what is missing is announced as a gap.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from metrics_stream.bus.messages import Published
from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.numbering import Continuity, Heard
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.positions import HistoryBatch, Position, SourcesOf, tag_runs
from metrics_stream.history import History, Placed
from metrics_stream.hub.hub import Hub
from metrics_stream.telemetry import Telemetry


class Intake:
    """Passes the metrics that the bus delivers to the hub of one process."""

    def __init__(
        self,
        hub: Hub,
        history: History | None,
        telemetry: Telemetry,
        sources_of: SourcesOf = lambda _: None,
        *,
        marks: ClockMarks | None = None,
    ) -> None:
        """`sources_of` returns the sources of a test run, as far as they are known.

        `marks` learns which clocks are off.
        """
        self._hub = hub
        self._history = history
        self._telemetry = telemetry
        self._sources_of = sources_of
        self._marks = marks or ClockMarks()
        self._continuity = Continuity()
        # Types without any batch yet in this epoch, for which it is unknown whether metrics are missing before it.
        self._unsure: set[str] = set()
        # A batch that arrives while the history is read must not overtake what is read.
        self._turn = asyncio.Lock()

    async def begin(self, metric_types: Iterable[str]) -> None:
        """Take these types from now on. Call it before their groups are joined, and `catch_up` afterwards.

        Types that are taken already keep their offset, so that losses in between are filled in.
        """
        for metric_type in metric_types:
            self._continuity.begin(metric_type)
        if self._history is None:
            return
        async with self._turn:
            new = [item for item in metric_types if item not in self._hub.offsets]
            if new:
                heads = await self._history.heads(new)
                self._enter(heads.epoch)
                self._hub.offsets.update(heads.offsets)

    def end(self, metric_type: str) -> None:
        """Stop taking a type."""
        self._continuity.end(metric_type)
        self._hub.offsets.pop(metric_type, None)

    async def take(self, published: Published) -> None:
        """Pass a batch to the hub, after the metrics that are missing before it, unless it came before.

        Raise BusError when the history does not answer; a later `catch_up` fills in the loss.
        """
        if not published.metrics:
            return
        heard = self._hear(published)
        if self._history is None or published.place is None:
            self._take_numbered(published.metrics, heard)
            return
        batch = _batch(published.metrics, published.place)
        async with self._turn:
            self._follow_epoch(batch, heard)
            if not self._take_next(batch):
                await self._fill_in([batch.metric_type])

    async def catch_up(self, metric_types: Iterable[str]) -> None:
        """Pass on what was published and did not arrive; without a history, announce that metrics may be missing."""
        if self._history is None:
            self._hub.announce_gap(GapReason.BUS, metric_types=frozenset(metric_types))
            return
        async with self._turn:
            await self._fill_in([item for item in metric_types if item in self._hub.offsets])

    def _hear(self, published: Published) -> Heard | None:
        if published.number is None:
            return None
        metrics = published.metrics
        return self._continuity.hear(
            published.producer, metrics[0].metric_type, first=published.number, count=len(metrics)
        )

    def _take_numbered(self, metrics: list[Metric], heard: Heard | None) -> None:
        if heard is not None and heard.repeated:
            return
        if heard is not None and heard.missing:
            types = frozenset({metrics[0].metric_type})
            self._hub.announce_gap(GapReason.BUS, metric_types=types, dropped=heard.missing)
        # Without a history, this is all that is known of their arrival.
        batch = HistoryBatch(metrics[0].metric_type, "", 0, 0, time.time(), metrics)
        self._hub.publish(self._marks.mark_next(batch).metrics)

    def _follow_epoch(self, batch: HistoryBatch, heard: Heard | None) -> None:
        """Enter the epoch of a batch; announce a gap unless the producer's number shows that nothing is missing."""
        hub, metric_type = self._hub, batch.metric_type
        if batch.epoch > hub.epoch:
            self._unsure = set(hub.offsets)
            hub.epoch = batch.epoch
            hub.offsets.update(dict.fromkeys(hub.offsets, 0))
        if metric_type not in self._unsure:
            return
        self._unsure.discard(metric_type)
        if heard is None or heard.missing:
            known = heard.missing if heard is not None and batch.first == 0 else None
            hub.announce_gap(GapReason.HISTORY, metric_types=frozenset({metric_type}), dropped=known)

    def _take_next(self, batch: HistoryBatch) -> bool:
        """Pass on what is new of a batch and return True; return False if metrics are missing before it."""
        hub = self._hub
        reached = hub.offsets.get(batch.metric_type)
        if reached is None:
            return True  # the type is not wanted any more, or `begin` is about to ask the history for its end
        if batch.epoch < hub.epoch:
            return True  # later epochs have greater names; the gap for this older epoch has been announced already
        if batch.first > reached:
            return False
        if batch.end > reached:
            self._pass_on(batch.after(reached))
        return True

    def _pass_on(self, batch: HistoryBatch) -> None:
        # Before the call: a batch that makes the hub fail must not come again and again.
        self._hub.offsets[batch.metric_type] = batch.end
        self._hub.publish(tag_runs(self._marks.mark_next(batch), self._sources_of))

    async def _fill_in(self, metric_types: list[str]) -> None:
        """Pass on what the history has after the offsets that the hub has reached."""
        assert self._history is not None, "without a history nothing can be filled in"
        is_last = not metric_types
        while not is_last:
            hub = self._hub
            page = await self._history.since(Position(hub.epoch, {item: hub.offsets[item] for item in metric_types}))
            self._enter(page.position.epoch)
            for metric_type, count in page.lost.items():
                hub.announce_gap(GapReason.HISTORY, metric_types=frozenset({metric_type}), dropped=count)
            for batch in page.batches:
                # A type may have been left meanwhile; a later subscription begins at the end of the history then.
                if batch.metric_type in hub.offsets:
                    self._telemetry.metrics_refilled += len(batch.metrics)
                    self._pass_on(batch)
            metric_types = [item for item in metric_types if item in hub.offsets]
            hub.offsets.update({item: page.position.offsets[item] for item in metric_types})
            is_last = page.is_last

    def _enter(self, epoch: str) -> None:
        """Enter an epoch; a new one announces a gap for all types, since the rest of the old one is gone."""
        hub = self._hub
        if hub.epoch == epoch:
            return
        if hub.offsets:
            hub.announce_gap(GapReason.HISTORY, metric_types=frozenset(hub.offsets))
        self._unsure.clear()
        hub.epoch = epoch
        hub.offsets.update(dict.fromkeys(hub.offsets, 0))


def _batch(metrics: list[Metric], place: Placed) -> HistoryBatch:
    return HistoryBatch(
        metrics[0].metric_type, place.epoch, place.first, place.order, place.published_at, metrics, place.runs
    )
