"""Send a client the past of what it subscribes to: the metrics it missed, or the newest metric of each kind.

The client first enters its view in the hub, and live metrics wait in its share until the past has been sent. So no
metric is missing between the two, and none comes twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from metrics_stream.consumers.sink import wait_until_idle
from metrics_stream.core.clock_marks import ClockMarks
from metrics_stream.core.delivery.pending import Loss
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import BusError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.positions import HistoryBatch, Position, parse_position, position_text, tag_runs
from metrics_stream.history import History, Page
from metrics_stream.hub.clients import Client, ClientState
from metrics_stream.hub.hub import Hub
from metrics_stream.hub.past import PastPage
from metrics_stream.runtime.intake import Intake
from metrics_stream.runtime.newest import PAGE_BYTES, PAGE_METRICS, NewestReader
from metrics_stream.runtime.run_sources import RunSources

Join = Callable[[tuple[str, ...]], Awaitable[None]]
Visible = Callable[[Iterable[str]], tuple[str, ...]]


class Recovery:
    """Gives one client a selection, and sends it the past of the metric types that are new to it.

    Await `begin` before the subscription is confirmed, and `finish` afterwards, in a task.
    """

    def __init__(
        self,
        client: Client,
        hub: Hub,
        intake: Intake,
        history: History | None,
        *,
        run_sources: RunSources,
        marks: ClockMarks,
        newest: NewestReader | None,
        join: Join,
        visible: Visible,
    ) -> None:
        """Without a history there is no past; `newest` reads its newest metrics, None sends none.

        `join` waits a moment until the process receives some metric types. `visible` returns which of some metric types
        are at least partly visible to the client now.
        """
        self._client = client
        self._hub = hub
        self._intake = intake
        self._history = history
        self._run_sources = run_sources
        self._marks = marks
        self._newest = newest
        self._join = join
        self._visible = visible
        self._requested: tuple[str, ...] = ()
        self._types_before: frozenset[str] = frozenset()
        self._resume_from: Position | None = None
        self._resumed_types: frozenset[str] = frozenset()
        """The new types that `resume_from` names."""
        self._missed_since: Position | None = None
        """Where the client stands in these types; None if nothing can be read from there."""
        self._live_from: Position | None = None
        """Live metrics of the new types follow this, once the client has entered its view."""
        self._is_long = False
        self._is_complete = True
        self._loss = Loss()

    async def begin(self, selection: Selection, resume_from: Position | None) -> bool | None:
        """Return whether every metric since `resume_from` will be sent, None without such a position."""
        self._requested = selection.metric_types
        self._types_before = frozenset(self._client.selection.metric_types)
        self._resume_from = resume_from
        if resume_from is not None:
            await self._read_first_page(resume_from)
        if self._is_long:
            self._client.mark_behind()
        else:
            await self._enter_view()
        return None if resume_from is None else self._is_complete

    @property
    def metric_types(self) -> tuple[str, ...]:
        """The types that the client gets from now on: requested and still visible to it."""
        return self._visible(self._requested)

    @property
    def _new_types(self) -> tuple[str, ...]:
        return tuple(item for item in self.metric_types if item not in self._types_before)

    @property
    def position(self) -> str | None:
        """The position after which the client will get everything that it has not got, once `begin` is done.

        None if it is not known for all types of the client: resuming from it would skip the others.
        """
        if self._history is None:
            return None
        told = None if self._client.reached_position is None else parse_position(self._client.reached_position)
        # Each type is named by one of these: where the client resumes, where it begins, or what it has been told.
        types = self.metric_types
        parts = [
            (self._resume_from, self._resumed_types.intersection(types)),
            (self._live_from, set(self._new_types) - self._resumed_types),
            (told, self._types_before.intersection(types)),
        ]
        used = [(position, types) for position, types in parts if types]
        offsets = {
            item: position.offsets[item]
            for position, types in used
            if position is not None
            for item in types
            if item in position.offsets
        }
        epochs = {position.epoch for position, _ in used if position is not None}
        if len(epochs) != 1 or len(offsets) != len(types):
            return None
        return position_text(epochs.pop(), {item: offsets[item] for item in types})

    async def _read_first_page(self, resume_from: Position) -> None:
        """Find out whether the client missed something, whether it is still kept, and whether sending it takes long."""
        offsets = {item: resume_from.offsets[item] for item in self._new_types if item in resume_from.offsets}
        if not offsets:
            return
        self._resumed_types = frozenset(offsets)
        self._missed_since = Position(resume_from.epoch, offsets)
        if self._history is None:
            self._missed_since, self._is_complete = None, False
            self._loss.add(GapReason.HISTORY, None, offsets)
            return
        try:
            page = await self._read(self._history, self._missed_since)
            if page.is_last:
                await self._advance_hub(self._missed_since)
        except BusError:
            self._missed_since, self._is_complete = None, False
            self._loss.add(GapReason.BUS, None, offsets)
            return
        self._is_complete = not page.lost
        # A long past is sent before the client enters its view: live metrics wait in a share, which is bounded.
        self._is_long = not page.is_last

    async def _advance_hub(self, position: Position) -> None:
        """Advance the hub to where the client stands, or live frames would bring the same metrics again.

        The client may have got them from another process while this one lost messages of the bus.
        """
        hub = self._hub
        received = [item for item in position.offsets if item in hub.offsets]
        # Later epochs have greater names.
        if any((position.epoch, position.offsets[item]) > (hub.epoch, hub.offsets[item]) for item in received):
            await self._intake.catch_up(received)

    async def _enter_view(self) -> None:
        """Let live metrics wait for the client; no await may come between `_advance_hub` and this."""
        self._hold_live_metrics()
        await self._join(self._new_types)
        # Until `end_recovery` live metrics follow this position, and what is sent precedes it.
        self._live_from = self._hub.drop_undelivered(self._client, self._new_types)

    def _hold_live_metrics(self) -> None:
        client = self._client
        client.begin_recovery()
        self._hub.change(client, replace(client.selection, metric_types=self.metric_types), client.delivery)

    async def finish(self) -> None:
        """Send the past, then let live metrics leave."""
        try:
            if self._history is not None:
                await self._send_past(self._history)
        except BusError:
            self._loss.add(GapReason.BUS, None, self._new_types)
        finally:
            if self._client.state is ClientState.BEHIND:
                # The past could not be sent, but the subscription has been confirmed.
                self._hold_live_metrics()
            self._hub.end_recovery(self._client, self._loss)

    async def _send_past(self, history: History) -> None:
        if self._is_long and self._missed_since is not None:
            self._missed_since = await self._send_pages(history, self._missed_since)
            await self._advance_hub(self._missed_since)
            await self._enter_view()
        assert self._live_from is not None, "the client has entered its view by now"
        if self._missed_since is not None:
            await self._send_missed(history, self._missed_since, self._live_from)
        await self._send_newest(self._live_from)

    async def _read(self, history: History, position: Position, until: Position | None = None) -> Page:
        return await history.since(position, until=until, max_metrics=PAGE_METRICS, max_bytes=PAGE_BYTES)

    async def _send_pages(self, history: History, position: Position, until: Position | None = None) -> Position:
        is_last = False
        while not is_last:
            page = await self._read(history, position, until)
            self._note_loss(page)
            metrics = await self._tag(page.batches)
            await self._send(PastPage(metrics), self._position_text(page.position))
            position, is_last = page.position, page.is_last
        return position

    async def _send_missed(self, history: History, position: Position, until: Position) -> None:
        known = {item: offset for item, offset in position.offsets.items() if item in until.offsets}
        if unknown := position.offsets.keys() - known:
            # Their groups are not joined yet, and what is missing is unknown until they are.
            self._loss.add(GapReason.BUS, None, unknown)
        if known:
            await self._send_pages(history, Position(position.epoch, known), until)

    async def _send_newest(self, until: Position) -> None:
        """Send the newest metric of each kind, of the new types that the client does not resume."""
        metric_types = [item for item in self._new_types if item in until.offsets and item not in self._resumed_types]
        if not metric_types:
            return
        if self._newest is not None:
            newest = await self._newest.read(metric_types, self._client.selection.permit)
            for page in newest.pages_until(until):
                await self._send(page, None)
        await self._send(PastPage(()), None)  # for the loss, if there is nothing else

    async def _tag(self, batches: list[HistoryBatch]) -> list[Metric]:
        await self._run_sources.learn(batches, self._client.selection.permit)
        return [metric for batch in batches for metric in tag_runs(self._marks.mark(batch), self._run_sources.get)]

    async def _send(self, page: PastPage, position: str | None) -> None:
        if not page.metrics and not self._loss:
            return
        await wait_until_idle(self._client)
        loss, self._loss = self._loss, Loss()
        self._hub.write_past(self._client, page, loss, position)
        # Frames of other clients go before the next page.
        await asyncio.sleep(0)

    def _position_text(self, position: Position) -> str | None:
        """Return the position as text, None if the client has other types, whose offsets it lacks."""
        return position.text() if position.offsets.keys() == set(self.metric_types) else None

    def _note_loss(self, page: Page) -> None:
        for metric_type, count in page.lost.items():
            known = None if self._client.selection.is_narrowed else count
            self._loss.add(GapReason.HISTORY, known, (metric_type,))
