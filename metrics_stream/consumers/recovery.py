"""What a client gets of the past when it comes or comes back: the metrics that it missed, or the newest of each kind.

The client is registered with the hub first, and what is live waits in its share until the past has been sent: so
nothing is missing between the two, and nothing comes twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from metrics_stream.consumers.sink import wait_until_idle
from metrics_stream.core.delivery.pending import Loss
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import BusError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.core.protocol.positions import Position, parse_position, position_text, tag_runs
from metrics_stream.history import History, Page
from metrics_stream.hub.clients import Client, ClientState
from metrics_stream.hub.hub import Hub
from metrics_stream.runtime.intake import Intake

# What is sent at once: a frame that any client takes, and that costs the others no noticeable time.
PAGE_METRICS = 1_000
PAGE_BYTES = 500_000

Join = Callable[[tuple[str, ...]], Awaitable[None]]
Visible = Callable[[Iterable[str]], tuple[str, ...]]


class Recovery:
    """Takes one client into a selection, and brings it what came before of the metric types that are new to it.

    `begin` is awaited before the subscription is confirmed, `finish` afterwards, in a task of its own.
    """

    def __init__(
        self, client: Client, hub: Hub, intake: Intake, history: History | None, *, join: Join, visible: Visible
    ) -> None:
        """`join` waits a moment until metric types are heard. Without a history there is no past.

        `visible` returns those of some metric types of which the client may see something now.
        """
        self._client = client
        self._hub = hub
        self._intake = intake
        self._history = history
        self._join = join
        self._visible = visible
        self._asked: tuple[str, ...] = ()
        self._had: frozenset[str] = frozenset()
        self._missed: Position | None = None
        """Where the client stands, of the types that it had before."""
        self._resumed: frozenset[str] = frozenset()
        self._resume_from: Position | None = None
        self._reached: Position | None = None
        """What is live of the new types stands behind this, once the client is registered."""
        self._is_long = False
        self._is_whole = True
        self._loss = Loss()

    async def begin(self, selection: Selection, resume_from: Position | None) -> bool | None:
        """Find out what there is; return whether every metric since `resume_from` will come, None without one."""
        self._asked = selection.metric_types
        self._had = frozenset(self._client.selection.metric_types)
        self._resume_from = resume_from
        if resume_from is not None:
            await self._look(resume_from)
        if self._is_long:
            self._client.mark_behind()
        else:
            await self._enter()
        return None if resume_from is None else self._is_whole

    @property
    def metric_types(self) -> tuple[str, ...]:
        """What the client gets from now on: what it asked for, and may still see."""
        return self._visible(self._asked)

    @property
    def _new(self) -> tuple[str, ...]:
        return tuple(item for item in self.metric_types if item not in self._had)

    @property
    def position(self) -> str | None:
        """The place behind which everything will come that the client has not got, once `begin` is done.

        None when it cannot be said of all types of the client: what a position does not name, nobody can bring back.
        """
        if self._history is None:
            return None
        told = None if self._client.reached_position is None else parse_position(self._client.reached_position)
        # Each type is said by one of them: where the client comes from, where it begins, or what it has been told.
        types = self.metric_types
        parts = [
            (self._resume_from, self._resumed.intersection(types)),
            (self._reached, set(self._new) - self._resumed),
            (told, self._had.intersection(types)),
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

    async def _look(self, resume_from: Position) -> None:
        offsets = {item: resume_from.offsets[item] for item in self._new if item in resume_from.offsets}
        if not offsets:
            return
        self._resumed = frozenset(offsets)
        self._missed = Position(resume_from.epoch, offsets)
        if self._history is None:
            self._missed, self._is_whole = None, False
            self._loss.add(GapReason.HISTORY, None, offsets)
            return
        try:
            page = await self._read(self._history, self._missed)
            if page.is_last:
                await self._advance_hub(self._missed)
        except BusError:
            self._missed, self._is_whole = None, False
            self._loss.add(GapReason.BUS, None, offsets)
            return
        self._is_whole = not page.lost
        # What takes long is sent before the client is registered: what is live waits in a share that is bounded.
        self._is_long = not page.is_last

    async def _advance_hub(self, position: Position) -> None:
        """Bring the hub to where the client is, or what is live would bring that again.

        The client may have got it from another process, when this one lost messages of the bus.
        """
        hub = self._hub
        heard = [item for item in position.offsets if item in hub.offsets]
        # Later epochs have greater names.
        if any((position.epoch, position.offsets[item]) > (hub.epoch, hub.offsets[item]) for item in heard):
            await self._intake.catch_up(heard)

    async def _enter(self) -> None:
        """Register the client, with what is live waiting; no await may come between `_advance_hub` and this."""
        self._register()
        await self._join(self._new)
        # From here to `end_recovery` what is live stands behind `reached`, and what is sent before it.
        self._reached = self._hub.drop_undelivered(self._client, self._new)

    def _register(self) -> None:
        client = self._client
        client.begin_recovery()
        self._hub.change(client, replace(client.selection, metric_types=self.metric_types), client.delivery)

    async def finish(self) -> None:
        """Send what came before, then let what is live leave."""
        try:
            if self._history is not None:
                await self._send_past(self._history)
        except BusError:
            self._loss.add(GapReason.BUS, None, self._new)
        finally:
            if self._client.state is ClientState.BEHIND:
                # The past could not be sent, but live metrics have been confirmed.
                self._register()
            self._hub.end_recovery(self._client, self._loss)

    async def _send_past(self, history: History) -> None:
        if self._is_long and self._missed is not None:
            self._missed = await self._send_pages(history, self._missed)
            await self._advance_hub(self._missed)
            await self._enter()
        assert self._reached is not None, "the client is registered by now"
        if self._missed is not None:
            await self._send_rest(history, self._missed, self._reached)
        await self._send_newest(history, self._reached)

    async def _read(self, history: History, position: Position, until: Position | None = None) -> Page:
        return await history.since(position, until=until, max_metrics=PAGE_METRICS, max_bytes=PAGE_BYTES)

    async def _send_pages(self, history: History, position: Position, until: Position | None = None) -> Position:
        is_last = False
        while not is_last:
            page = await self._read(history, position, until)
            self._note_loss(page)
            await self._send(
                [metric for batch in page.batches for metric in tag_runs(batch)], self._text(page.position)
            )
            position, is_last = page.position, page.is_last
        return position

    async def _send_rest(self, history: History, position: Position, reached: Position) -> None:
        known = {item: offset for item, offset in position.offsets.items() if item in reached.offsets}
        if unknown := position.offsets.keys() - known:
            # Their groups are not joined yet, so nobody can say what is missing until they are.
            self._loss.add(GapReason.BUS, None, unknown)
        if known:
            await self._send_pages(history, Position(position.epoch, known), reached)

    async def _send_newest(self, history: History, reached: Position) -> None:
        """Send the newest metric of each kind of the types that the client has not been brought."""
        asked = [item for item in self._new if item in reached.offsets and item not in self._resumed]
        if not asked:
            return
        newest = [
            metric
            for batch in await history.newest(asked)
            if batch.end <= reached.offsets[batch.metric_type] and batch.epoch == reached.epoch
            for metric in tag_runs(batch)
        ]
        for begin in range(0, max(1, len(newest)), PAGE_METRICS):  # once for what is missing, too
            await self._send(newest[begin : begin + PAGE_METRICS], None)

    async def _send(self, metrics: list[Metric], position: str | None) -> None:
        if not metrics and not self._loss:
            return
        await wait_until_idle(self._client)
        loss, self._loss = self._loss, Loss()
        self._hub.write_past(self._client, metrics, loss, position)
        # Others' frames before the next page.
        await asyncio.sleep(0)

    def _text(self, position: Position) -> str | None:
        """Return the position to be sent, None while the client has other types, which stand elsewhere."""
        return position.text() if position.offsets.keys() == set(self.metric_types) else None

    def _note_loss(self, page: Page) -> None:
        for metric_type, count in page.lost.items():
            known = None if self._client.selection.is_narrowed else count
            self._loss.add(GapReason.HISTORY, known, (metric_type,))
