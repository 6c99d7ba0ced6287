"""What one client has subscribed to and is owed: its subscription, the past that it asked for, and its replay.

A session stands between the consumer of a client and the hub. What takes long runs in tasks, so that further messages
are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET

from metrics_stream.consumers.authentication import Authentication
from metrics_stream.consumers.backfill import send_backfill
from metrics_stream.consumers.limits import Limits
from metrics_stream.consumers.past import Past
from metrics_stream.consumers.recovery import Recovery
from metrics_stream.consumers.replay import Replay
from metrics_stream.consumers.replay_sources import open_replay_source
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import AccessRefusedError, BusError, ProtocolError
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.protocol import bounds, messages
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.core.protocol.parsing import parse_instant
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.hub.clients import Client
from metrics_stream.hub.inspection import subscription_of
from metrics_stream.runtime.newest import newest_reader_of
from metrics_stream.runtime.runtime import Runtime

logger = logging.getLogger(__name__)

Send = Callable[[messages.ServerMessage], Awaitable[None]]


class Session:
    """The subscription, the recovery and the replay of one client that the hub serves."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        authentication: Authentication,
        limits: Limits,
        send: Send,
        *,
        known: Catalogue | None = None,
        sends_newest: bool = True,
    ) -> None:
        """With `sends_newest` a subscription begins with the newest metrics; other types than `known` are new."""
        self._limits = limits
        self._client = client
        self._runtime = runtime
        self._hub = runtime.hub
        self._authentication = authentication
        self._send = send
        self._sends_newest = sends_newest
        self._replay: Replay | None = None
        self._is_opening_replay = False
        self._replay_turn = asyncio.Lock()
        self.wants_all = False  # also the metric types to come
        # With which types and access its metric types were last chosen.
        self._known = known or runtime.settings.catalogue()
        self._access = authentication.access
        self._recovery: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # One backfill at a time, so that the parts of two are never mixed.
        self._backfill_turn = asyncio.Lock()
        # Backfills of which nothing was sent yet, with their metric types.
        self._unsent_backfills: dict[asyncio.Task[None], frozenset[str]] = {}

    @property
    def replay(self) -> Replay | None:
        """The replay that the client gets instead of live metrics."""
        return self._replay

    @property
    def position(self) -> str | None:
        """The position that the client has reached; None while it is unknown or something waits to be sent."""
        return self._hub.position_reached_by(self._client)

    def describe(self) -> messages.Subscription:
        """Return the subscription as it stands on the wire."""
        return subscription_of(self._client.selection, self._client.delivery)

    # --- what is selected, and how it is delivered ---

    async def subscribe(
        self, metric_types: frozenset[str], past: Past, ref: messages.Ref, *, everything: bool = False
    ) -> None:
        """Add metric types, as far as they are visible, and send what the client asks for of the past.

        With `everything`, metric types that come later are added as they come.
        """
        self.wants_all |= everything
        await self._settle()
        added = self._visible(metric_types)
        wanted = self._visible(metric_types.union(self._client.selection.metric_types))
        selection = replace(self._client.selection, metric_types=wanted)
        if self._replay is None:
            await self._recover(selection, past, ref, added)
        else:  # The replay has the other types from now on; `live` sends their past.
            self._change(selection)
            await self._send(messages.SubscriptionConfirmed(metric_types=wanted, ref=ref))

    async def unsubscribe(self, metric_types: frozenset[str], ref: messages.Ref, *, everything: bool = False) -> None:
        """Remove metric types; with `everything`, those that come later are not added any more."""
        self.wants_all &= not everything
        await self._settle()
        left = self._visible(frozenset(self._client.selection.metric_types) - metric_types)
        self._change(replace(self._client.selection, metric_types=left))
        await self._send(messages.SubscriptionConfirmed(metric_types=left, position=self.position or UNSET, ref=ref))

    def set_filters(self, filters: messages.Filters) -> None:
        """Replace the filters."""
        self._change(replace(self._client.selection, filters=filters))

    def set_interval(self, seconds: float) -> None:
        """Replace the interval."""
        client = self._client
        self._hub.change(client, client.selection, replace(client.delivery, interval_seconds=seconds))

    def set_batching(self, message: messages.SetBatching) -> Delivery:
        """Replace what the message gives of batch size, batch timeout and mode; return what is in force then."""
        client, now = self._client, self._client.delivery
        timeout = message.batch_timeout_seconds
        delivery = Delivery.clamped(
            interval_seconds=now.interval_seconds,
            batch_size=now.batch_size if message.batch_size is UNSET else message.batch_size,
            batch_timeout_seconds=now.batch_timeout_seconds if timeout is UNSET else timeout,
            mode=now.mode if message.mode is UNSET else message.mode,
        )
        self._hub.change(client, client.selection, delivery)
        return delivery

    async def apply_access(self) -> None:
        """Continue with the access that the client has now; raise AccessRefusedError when it has to reconnect."""
        before, access = self._access, self._authentication.access
        if (self._replay is not None or self._is_opening_replay) and not access.only_adds_to(before):
            # The replay was opened with the access before.
            raise AccessRefusedError(
                CloseCode.AUTHENTICATION_EXPIRED, ErrorCode.EXPIRED, "your access has changed; reconnect"
            )
        self._access = access
        added = set(access.everything).difference(self._known.types) if self.wants_all else set()
        self._known = self._runtime.settings.catalogue()
        if self._replay is None:
            types = self._visible(self._client.selection.metric_types)
            self._change(replace(self._client.selection, metric_types=types, permit=access.live_permit))
        # Not while a replay is being opened, which takes the client out of its view.
        async with self._replay_turn:
            await self._choose(added.union(self._client.selection.metric_types))

    async def follow(self, selection: Selection, delivery: Delivery, *, everything: bool) -> None:
        """Continue with another selection, as far as it is visible, and delivery; confirm the metric types."""
        self.wants_all = everything
        before = self._client.selection
        self._hub.change(self._client, replace(before, filters=selection.filters), delivery)
        await self._choose(selection.metric_types)

    async def _choose(self, metric_types: Iterable[str]) -> None:
        """Let the client have these metric types as far as they are visible, and confirm them."""
        chosen = self._visible(metric_types)
        if self._replay is None and not set(chosen).issubset(self._client.selection.metric_types):
            await self._settle()
            selection = replace(self._client.selection, metric_types=self._visible(metric_types))
            kept = tuple(item for item in self._client.selection.metric_types if item in selection.metric_types)
            self._change(replace(selection, metric_types=kept))
            await self._recover(selection, Past(), UNSET)
            return
        self._change(replace(self._client.selection, metric_types=chosen))
        await self._send(messages.SubscriptionConfirmed(metric_types=chosen, position=self.position or UNSET))

    def _visible(self, metric_types: Iterable[str]) -> tuple[str, ...]:
        return self._authentication.visible_types(metric_types)

    def _change(self, selection: Selection) -> None:
        self._hub.change(self._client, selection, self._client.delivery)

    # --- recovery and backfill ---

    def start(self, selection: Selection, past: Past, *, everything: bool = False) -> None:
        """Give a new client the selection of its preset; with `everything`, also the metric types to come.

        It happens in a task: a channel layer that is down must not keep the client from its first replies.
        """

        self.wants_all = everything

        async def recover() -> None:
            recovery = self._make_recovery()
            recovered = await recovery.begin(selection, past.resume_from)
            # The welcome has confirmed the selection; only what is asked for of the past needs an answer.
            if past != Past():
                await self._confirm(recovery.metric_types, recovery.position, recovered, UNSET)
            await recovery.finish()

        self._recovery = self._start_task(recover())
        self._start_backfill(selection.metric_types, past)

    async def _recover(
        self, selection: Selection, past: Past, ref: messages.Ref, added: tuple[str, ...] | None = None
    ) -> None:
        """Give the client a selection with more metric types than it had, confirm it, and start sending the past.

        The backfill has all types of `added`, also those that the client had before; None means the whole selection.
        """
        recovery = self._make_recovery()
        recovered = await recovery.begin(selection, past.resume_from)
        await self._confirm(recovery.metric_types, recovery.position, recovered, ref)
        self._recovery = self._start_task(recovery.finish())
        self._start_backfill(selection.metric_types if added is None else added, past)

    async def _settle(self) -> None:
        """Wait until the recovery before has sent all its metrics."""
        if self._recovery is not None:
            await asyncio.wait([self._recovery])

    def _make_recovery(self) -> Recovery:
        runtime = self._runtime
        return Recovery(
            self._client,
            runtime.hub,
            runtime.intake,
            runtime.history,
            run_sources=runtime.run_sources,
            marks=runtime.clocks.marks,
            newest=newest_reader_of(runtime) if self._sends_newest else None,
            join=runtime.membership.wait_joined,
            visible=self._visible,
        )

    async def _confirm(
        self, metric_types: tuple[str, ...], position: str | None, recovered: bool | None, ref: messages.Ref
    ) -> None:
        self._client.note_position(position)
        await self._send(
            messages.SubscriptionConfirmed(
                metric_types=metric_types,
                position=position or UNSET,
                recovered=UNSET if recovered is None else recovered,
                ref=ref,
            )
        )

    def _start_backfill(self, metric_types: tuple[str, ...], past: Past) -> None:
        if past.backfill_seconds is None:
            return
        asked = frozenset(metric_types)
        for earlier, types in self._unsent_backfills.items():
            # A client that asks for the same again needs only the later answer.
            if types <= asked:
                earlier.cancel()
        task = self._start_task(self._backfill(metric_types, past.backfill_seconds, past.max_points))
        self._unsent_backfills[task] = asked

    async def _backfill(self, metric_types: tuple[str, ...], seconds: float, max_points: int) -> None:
        """Send the past of these types as columns, after the metrics that the recovery sends."""
        async with self._backfill_turn:
            until = time.time()
            since = until - seconds
            await self._settle()
            selection = replace(self._client.selection, metric_types=metric_types)
            series: list[SeriesColumns] = []
            left_out: tuple[str, ...] = ()
            if self._runtime.recent is not None:
                # On failure the client gets an empty backfill, and live metrics go on.
                with contextlib.suppress(BusError):
                    async with self._limits.look_back():
                        series = await self._runtime.recent.series(selection, since, until, max_points)
                left_out = self._runtime.recent.left_out(replace(selection, permit=self._client.selection.permit))
            if (task := asyncio.current_task()) is not None:
                self._unsent_backfills.pop(task, None)
            await send_backfill(
                self._client, self._hub, series, metric_types, since=since, until=until, left_out=left_out
            )

    # --- replays ---

    async def start_replay(self, message: messages.Replay) -> None:
        """Replay a test run or the history to the client instead of live metrics."""
        at = None if message.from_ is UNSET else parse_instant("from", message.from_)
        run = None if message.run is UNSET else message.run
        await self._settle()
        # The replay has the access of this moment. If that changes before the replay has begun, `apply_access` closes
        # the client as it does during a replay.
        access = self._authentication.access
        self._is_opening_replay = True
        try:
            replay_source = await open_replay_source(self._runtime, access, run)
            permit = access.live_permit if run is None else access.permit
            replay = Replay(self._client, self._hub, replay_source, permit, self._send)
            speed = bounds.clamp(message.speed, bounds.SPEED)
            async with self._replay_turn, self._limits.look_back():
                await replay.start(at, speed=speed, paused=message.paused)
            # Only now: when the past cannot be read, everything stays as it was.
            self._stop_replay()
            self._replay = replay
            await self._send(_as_reply(replay.describe(), message.ref))
            self._play(replay, Past.of(message))
        finally:
            self._is_opening_replay = False

    async def seek(self, message: messages.Seek) -> None:
        """Continue the replay at another instant."""
        at = parse_instant("to", message.to)
        replay = self._current_replay()
        async with self._limits.look_back():
            await replay.seek(at)
        # What is still to be sent from before the jump is outdated. Only now: a jump that fails changes nothing.
        self._cancel_tasks()
        await self._send(_as_reply(replay.describe(), message.ref))
        self._play(replay, Past.of(message))

    async def pause(self, message: messages.Pause) -> None:
        """Pause the replay."""
        replay = self._current_replay()
        replay.pause()
        await self._send(_as_reply(replay.describe(), message.ref))

    async def resume(self, message: messages.Resume) -> None:
        """Resume the replay."""
        replay = self._current_replay()
        replay.resume(None if message.speed is UNSET else bounds.clamp(message.speed, bounds.SPEED))
        await self._send(_as_reply(replay.describe(), message.ref))

    async def live(self, message: messages.Live) -> None:
        """End the replay, if there is one, and continue with live metrics."""
        if not self._authentication.access.is_live:
            raise ProtocolError(ErrorCode.INVALID_MESSAGE, "the link shows a test run, and nothing that is live")
        past = Past.of(message)
        if self._replay is None:
            await self._send(messages.ReplayState(state="live", ref=message.ref))
            return
        self._stop_replay()
        # The replay had a permit of its own.
        selection = replace(self._client.selection, permit=self._authentication.access.live_permit)
        self._change(replace(selection, metric_types=()))
        self._hub.leave_replay(self._client)
        await self._send(messages.ReplayState(state="live", ref=message.ref))
        await self._recover(selection, past, UNSET)

    def _current_replay(self) -> Replay:
        if self._replay is None:
            raise ProtocolError(ErrorCode.NOT_REPLAYING, "nothing is replayed; send `replay` first")
        return self._replay

    def _play(self, replay: Replay, past: Past) -> None:
        self._start_task(replay.play())
        if past.backfill_seconds is not None:
            self._start_task(self._backfill_replay(replay, past.backfill_seconds, past.max_points))

    async def _backfill_replay(self, replay: Replay, seconds: float, max_points: int) -> None:
        until = replay.at
        selection = self._client.selection
        async with self._limits.look_back():
            series = await replay.replay_source.series(selection, until - seconds, until, max_points)
        await send_backfill(self._client, self._hub, series, selection.metric_types, since=until - seconds, until=until)

    def _stop_replay(self) -> None:
        self._replay = None
        self._cancel_tasks()

    # --- tasks ---

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish_task)
        return task

    def _finish_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._unsent_backfills.pop(task, None)
        if task.cancelled() or (error := task.exception()) is None or isinstance(error, OSError):
            return
        logger.error("the past could not be sent", exc_info=error)
        self._hub.tell_gap(self._client, GapReason.INTERNAL, metric_types=self._client.selection.metric_types)

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    def stop(self) -> None:
        """Cancel what is still to be sent; the client is gone."""
        self._cancel_tasks()


def _as_reply(state: messages.ReplayState, ref: messages.Ref) -> messages.ReplayState:
    """Return a state as the reply to the message with this `ref`."""
    return msgspec.structs.replace(state, ref=ref)
