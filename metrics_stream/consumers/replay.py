"""Replay published metrics to one client, at a speed: those recorded of a test run, or those that the history keeps.

The client leaves its live view for a view of its own in the hub. Its selection and delivery stay in force there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from django.db import DatabaseError

from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.errors import BusError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.core.protocol.messages import PlayState, ReplayState
from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.hub.clients import Client
from metrics_stream.hub.hub import Hub

logger = logging.getLogger(__name__)

# How often a replay looks for metrics that are due: as often as a client with the shortest interval would notice.
TICK_SECONDS = 0.05
# How often it sends its state while it plays.
STATE_SECONDS = 1.0
# How often it looks for more at the end of a source that grows.
MORE_SECONDS = 1.0

# With this many metrics waiting for the client's next frame the replay waits, too: metrics come late, none is dropped.
MAX_WAITING = 5_000
# It reads on when it has fewer metrics than this read ahead.
MIN_AHEAD = 500


class Moment(NamedTuple):
    """Metrics that were published at one instant, in seconds since 1970."""

    at: float
    metrics: Sequence[Metric]


class Pages(NamedTuple):
    """The next moments in the order of publishing, and the mark after them; `is_last` if nothing follows for now."""

    moments: list[Moment]
    mark: Any
    is_last: bool


class ReplaySource(Protocol):
    """Where a replay reads: the history, or the recording of a test run.

    A mark is a place in the source, whose type each source chooses.
    """

    run: str | None
    """The id of the test run, None for the history."""

    @property
    def is_growing(self) -> bool:
        """Whether more metrics may follow."""

    async def bounds(self) -> tuple[float, float]:
        """Return the first and the last instant that can be replayed, in seconds since 1970."""

    async def mark_at(self, at: float) -> Any:
        """Return the mark before the metrics published at an instant or later."""

    async def read(self, mark: Any) -> Pages:
        """Return the moments after a mark."""

    async def newest_at(self, at: float) -> list[Metric]:
        """Return the newest metric of each kind that was published before an instant."""

    async def series(self, selection: Selection, since: float, until: float, max_points: int) -> list[SeriesColumns]:
        """Return the series of a selection between two instants, with at most `max_points` each."""


SendState = Callable[[ReplayState], Awaitable[object]]


class Replay:
    """One replay of one client."""

    def __init__(
        self, client: Client, hub: Hub, replay_source: ReplaySource, permit: Permit, send_state: SendState
    ) -> None:
        """`permit` says what the client may see of the source; `send_state` sends the client a state of the replay."""
        self.replay_source = replay_source
        self.state: PlayState = "paused"
        self.speed = 1.0
        self._client = client
        self._hub = hub
        self._permit = permit
        self._send_state = send_state
        self._loop = asyncio.get_running_loop()
        self._at = 0.0
        self._as_of = 0.0  # the loop's time at which the replay stood at `_at`
        self._shown_at = 0.0  # metrics that were due until then have been fed
        self._bounds = (0.0, 0.0)
        self._end = 0.0  # where the source ended at the loop's time `_end_as_of`
        self._end_as_of = 0.0
        self._mark: Any = None
        self._ahead: deque[Moment] = deque()
        self._ahead_count = 0  # metrics in `_ahead`
        self._newest: Sequence[Metric] = ()  # those of the instant where it began that the client has not been fed
        self._is_all_read = False
        self._is_playing = asyncio.Event()
        self._lock = asyncio.Lock()

    @property
    def at(self) -> float:
        """The instant of the past that is shown now, in seconds since 1970."""
        if self.state != "playing":
            return self._at
        at = self._at + (self._loop.time() - self._as_of) * self.speed
        if self.replay_source.is_growing and not self._ahead:
            # Nothing can have been published after this moment, by the clock of the source.
            return min(at, max(self._at, self._end + self._loop.time() - self._end_as_of))
        return at

    def describe(self) -> ReplayState:
        """Return the state of the replay."""
        first, last = self._bounds
        return ReplayState(
            state=self.state,
            run=self.replay_source.run,
            at=format_timestamp(self.at),
            from_=format_timestamp(first),
            until=format_timestamp(max(first, last)),
            speed=self.speed,
        )

    async def start(self, at: float | None, *, speed: float, paused: bool) -> None:
        """Begin at an instant, or where the source begins."""
        self.speed = speed
        await self._read_bounds()
        await self.seek(self._bounds[0] if at is None else at)
        if not paused:
            self.resume(speed)

    async def _read_bounds(self) -> None:
        self._bounds = await self.replay_source.bounds()
        self._end, self._end_as_of = self._bounds[1], self._loop.time()

    async def seek(self, at: float) -> None:
        """Jump to another instant; the newest metrics of that instant come first."""
        async with self._lock:
            await self._read_bounds()
            at = min(max(at, self._bounds[0]), max(self._bounds))
            newest = await self.replay_source.newest_at(at)
            mark = await self.replay_source.mark_at(at)
            # A new view: no metric that waits from before the jump may arrive after it.
            self._hub.enter_replay(self._client)
            # Not before: the client may see less of live metrics than of the source.
            selection = replace(self._client.selection, permit=self._permit)
            self._hub.change(self._client, selection, self._client.delivery)
            self._set_instant(at)
            self._mark, self._is_all_read, self._ahead_count = mark, False, 0
            self._ahead.clear()
            if self.state == "ended":
                self.state = "paused"
            self._newest = newest
            self._feed_newest()

    def _feed_newest(self) -> None:
        self._newest = self._newest[self._hub.feed(self._client, self._newest) :]

    def _set_instant(self, at: float) -> None:
        self._at, self._as_of = at, self._loop.time()
        self._shown_at = at

    def pause(self) -> None:
        """Halt."""
        if self.state == "playing":
            self._set_instant(self.at)
            self.state = "paused"
            self._is_playing.clear()

    def resume(self, speed: float | None = None) -> None:
        """Go on, at another speed if one is given."""
        self._set_instant(self.at)
        self.speed = self.speed if speed is None else speed
        if self.state != "ended":
            self.state = "playing"
            self._is_playing.set()

    async def play(self) -> None:
        """Feed the client until the task is cancelled."""
        sent_at = self._loop.time()
        while self._newest:
            await asyncio.sleep(TICK_SECONDS)
            if self._has_room():
                self._feed_newest()
        while True:
            await self._is_playing.wait()
            before = self.state
            try:
                async with self._lock:
                    wait = await self._step()
            except (BusError, DatabaseError) as error:
                # The source does not answer: its state shows that the replay halts, and the client can resume it later.
                logger.warning("a replay halts: %s", error, extra={"client_id": self._client.id})
                self.pause()
                wait = 0.0
            if self.state != before or self._loop.time() - sent_at >= STATE_SECONDS:
                sent_at = self._loop.time()
                self._bounds = (
                    self._bounds[0],
                    max(self._bounds[1], self.at if self.replay_source.is_growing else 0.0),
                )
                await self._send_state(self.describe())
            await asyncio.sleep(wait)

    async def _step(self) -> float:
        """Feed metrics that are due; return after how many seconds to look again."""
        if not self._is_all_read and self._ahead_count < MIN_AHEAD:
            await self._read_ahead()
        if not self._has_room():
            # The replay stands still meanwhile, so that no metric is skipped.
            self._set_instant(self._shown_at)
            return TICK_SECONDS
        now, fed = self.at, 0
        while self._ahead and self._ahead[0].at <= now and fed < MAX_WAITING:
            moment = self._ahead.popleft()
            taken = self._hub.feed(self._client, moment.metrics)
            self._ahead_count -= taken
            fed += taken
            if taken < len(moment.metrics):
                self._ahead.appendleft(Moment(moment.at, moment.metrics[taken:]))
                break
        if self._ahead and self._ahead[0].at <= now:
            # More metrics are due than the client is fed at once.
            now = self._ahead[0].at
            self._set_instant(now)
        self._shown_at = now
        if self._ahead:
            return TICK_SECONDS
        if not self._is_all_read:
            return 0.0
        if self.replay_source.is_growing:
            self._set_instant(self.at)
            self._is_all_read = False
            return MORE_SECONDS
        if now >= self._bounds[1] and self._is_delivered():
            self._set_instant(self._bounds[1])
            self.state = "ended"
            self._is_playing.clear()
        return TICK_SECONDS

    def _has_room(self) -> bool:
        client = self._client
        waits = 0 if client.view is None else len(client.view.pending)
        return client.busy_since is None and client.share.is_empty and waits < MAX_WAITING

    def _is_delivered(self) -> bool:
        client = self._client
        is_sent = client.view is None or not len(client.view.pending)
        return is_sent and client.busy_since is None and client.share.is_empty

    async def _read_ahead(self) -> None:
        page = await self.replay_source.read(self._mark)
        self._mark, self._is_all_read = page.mark, page.is_last
        self._ahead.extend(page.moments)
        self._ahead_count += sum(len(moment.metrics) for moment in page.moments)
