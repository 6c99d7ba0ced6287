"""Brings one client into what it subscribed to, with what it wishes to have of the past, and into replays and back.

One per socket, between its consumer and the hub. What takes long goes on in tasks, so that messages are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec import UNSET

from metrics_stream.consumers.backfill import send_backfill
from metrics_stream.consumers.recovery import Recovery, Visible
from metrics_stream.consumers.replay import Replay, ReplaySource
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import BusError, ProtocolError
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.protocol import messages
from metrics_stream.core.protocol.codes import ErrorCode, GapReason
from metrics_stream.core.protocol.positions import Position, parse_position
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.hub.clients import Client
from metrics_stream.runtime.runtime import Runtime

logger = logging.getLogger(__name__)

Send = Callable[[messages.ServerMessage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Past:
    """What a client wishes to have of the past."""

    resume_from: Position | None = None
    backfill_seconds: float | None = None
    max_points: int = messages.DEFAULT_MAX_POINTS

    @classmethod
    def of(cls, message: messages.Backfilled) -> Past:
        """Return what a message says, its numbers moved into what is allowed."""
        resume_from = getattr(message, "resume_from", UNSET)
        seconds = message.backfill_seconds
        return cls(
            None if resume_from is UNSET else parse_position(resume_from),
            None if seconds is UNSET else messages.clamp(seconds, messages.BACKFILL_SECONDS),
            int(messages.clamp(message.max_points, messages.MAX_POINTS)),
        )


class Session:
    """The comings and goings of one client between nothing, what is live, and replays."""

    def __init__(self, client: Client, runtime: Runtime, send: Send, visible: Visible) -> None:
        """`send` sends a message to the client; `visible` returns those of some metric types that it may see now."""
        self.replay: Replay | None = None
        self.begins_replay = False
        """Whether somebody is about to call `replay`, with what may be seen now."""
        self._client = client
        self._runtime = runtime
        self._send = send
        self._visible = visible
        self._recovery: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # One backfill at a time, so that the parts of two never mix; those that nothing was sent of, and their types.
        self._backfill_turn = asyncio.Lock()
        self._unsent_backfills: dict[asyncio.Task[None], frozenset[str]] = {}

    # --- live ---

    async def settle(self) -> None:
        """Wait until what an admission before has to bring whole of the past is on its way."""
        if self._recovery is not None:
            await asyncio.wait([self._recovery])

    async def admit(
        self, selection: Selection, past: Past, ref: messages.Ref, asked: tuple[str, ...] | None = None
    ) -> None:
        """Give the client a selection with more metric types than it had, confirm it, and bring what it wishes.

        Columns come of all types that are `asked` for, also of those that the client has; None means all.
        """
        recovery = self._recovery_of()
        recovered = await recovery.begin(selection, past.resume_from)
        await self._confirm(recovery.metric_types, recovery.position, recovered, ref)
        self._recovery = self._start(recovery.finish())
        self._start_backfill(selection.metric_types if asked is None else asked, past)

    def start(self, selection: Selection, past: Past, *, is_confirmed: bool) -> None:
        """Do the same in a task: a channel layer that is away must not keep a new client from its first replies."""

        async def admit() -> None:
            recovery = self._recovery_of()
            recovered = await recovery.begin(selection, past.resume_from)
            if is_confirmed:
                await self._confirm(recovery.metric_types, recovery.position, recovered, UNSET)
            await recovery.finish()

        self._recovery = self._start(admit())
        self._start_backfill(selection.metric_types, past)

    def _recovery_of(self) -> Recovery:
        runtime = self._runtime
        return Recovery(
            self._client,
            runtime.hub,
            runtime.intake,
            runtime.history,
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
            # Who asks for all of it again has no use for both.
            if types <= asked:
                earlier.cancel()
        task = self._start(self._backfill(metric_types, past.backfill_seconds, past.max_points))
        self._unsent_backfills[task] = asked

    async def _backfill(self, metric_types: tuple[str, ...], seconds: float, max_points: int) -> None:
        """Send what came before of these types as columns, once what has to come whole is on its way."""
        async with self._backfill_turn:
            until = time.time()
            since = until - seconds
            await self.settle()
            selection = replace(self._client.selection, metric_types=metric_types)
            series: list[SeriesColumns] = []
            if self._runtime.recent is not None:
                # Without it the client knows that there is none, and has what is live.
                with contextlib.suppress(BusError):
                    series = await self._runtime.recent.series(selection, since, until, max_points)
            if (task := asyncio.current_task()) is not None:
                self._unsent_backfills.pop(task, None)
            await send_backfill(self._client, self._runtime.hub, series, metric_types, since=since, until=until)

    # --- replays ---

    async def start_replay(
        self, replay_source: ReplaySource, message: messages.Replay, at: float | None, permit: Permit
    ) -> None:
        """Play a tape to the client instead of what is live, from an instant on; `permit` holds for the tape."""
        speed = messages.clamp(message.speed, messages.SPEED)
        replay = Replay(self._client, self._runtime.hub, replay_source, permit, self._send)
        await replay.start(at, speed=speed, paused=message.paused)
        # Not before: when the past is away, all stays as it was.
        self._stop_player()
        self.replay = replay
        await self._send(_as_reply(replay.describe(), message.ref))
        self._play(replay, Past.of(message))

    async def seek(self, message: messages.Seek, at: float) -> None:
        """Go on with the replay at another instant."""
        replay = self._current_player()
        await replay.seek(at)
        # What is still to be sent of the instant before is of no use any more. Not before: a jump that fails is none.
        self._cancel_tasks()
        await self._send(_as_reply(replay.describe(), message.ref))
        self._play(replay, Past.of(message))

    async def pause(self, message: messages.Pause) -> None:
        """Halt the replay."""
        replay = self._current_player()
        replay.pause()
        await self._send(_as_reply(replay.describe(), message.ref))

    async def resume(self, message: messages.Resume) -> None:
        """Go on with the replay."""
        replay = self._current_player()
        replay.resume(None if message.speed is UNSET else messages.clamp(message.speed, messages.SPEED))
        await self._send(_as_reply(replay.describe(), message.ref))

    async def live(self, message: messages.Live) -> None:
        """End the replay, if there is one, and go on with what is live."""
        past = Past.of(message)
        if self.replay is not None:
            self._stop_player()
            hub, client, selection = self._runtime.hub, self._client, self._client.selection
            hub.change(client, replace(selection, metric_types=()), client.delivery)
            hub.leave_replay(client)
            await self._send(messages.ReplayState(state="live", ref=message.ref))
            await self.admit(selection, past, UNSET)
        else:
            await self._send(messages.ReplayState(state="live", ref=message.ref))

    def _current_player(self) -> Replay:
        if self.replay is None:
            raise ProtocolError(ErrorCode.NOT_REPLAYING, "nothing is replayed; send `replay` first")
        return self.replay

    def _play(self, replay: Replay, past: Past) -> None:
        self._start(replay.play())
        if past.backfill_seconds is not None:
            self._start(self._backfill_replay(replay, past.backfill_seconds, past.max_points))

    async def _backfill_replay(self, replay: Replay, seconds: float, max_points: int) -> None:
        until = replay.at
        selection = self._client.selection
        series = await replay.replay_source.series(selection, until - seconds, until, max_points)
        await send_backfill(
            self._client, self._runtime.hub, series, selection.metric_types, since=until - seconds, until=until
        )

    def _stop_player(self) -> None:
        self.replay = None
        self._cancel_tasks()

    # --- tasks ---

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._unsent_backfills.pop(task, None)
        if task.cancelled() or (error := task.exception()) is None or isinstance(error, OSError):
            return
        logger.error("the past could not be sent", exc_info=error)
        self._runtime.hub.tell_gap(self._client, GapReason.INTERNAL, metric_types=self._client.selection.metric_types)

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    def cancel(self) -> None:
        """End what is on its way: the socket is gone."""
        self._cancel_tasks()


def _as_reply(state: messages.ReplayState, ref: messages.Ref) -> messages.ReplayState:
    """Return a state as the reply to a message."""
    return msgspec.structs.replace(state, ref=ref)
