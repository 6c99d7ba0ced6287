"""The membership of a process in groups of the channel layer: one group for each metric type that its clients want.

A channel layer can forget memberships and lose messages. So groups are joined again from time to time, and metrics
that were missed are filled in from the history or announced as a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from metrics_stream.bus.bus import Bus
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.hub.hub import Hub
from metrics_stream.runtime.intake import Intake

# How long a reply to `subscribe` waits for the groups to be joined. After that the subscription is confirmed although
# the layer does not answer: the metrics come when it is back.
JOIN_SECONDS = 2.0


class GroupMembership:
    """Joins and leaves groups as local clients subscribe and unsubscribe; `keep` is the task that does it."""

    def __init__(self, bus: Bus, *, has_history: bool, rejoin_seconds: float) -> None:
        self.wanted: frozenset[str] = frozenset()
        self.joined: frozenset[str] = frozenset()
        self.opened = asyncio.Event()
        """Set while the process has a channel to receive on."""
        self._bus = bus
        self._has_history = has_history
        self._rejoin_seconds = rejoin_seconds
        # The types that the intake takes: joined, or to be joined as soon as the layer is back.
        self._taken: frozenset[str] = frozenset()
        self._joined_changed = asyncio.Condition()
        self._is_due = asyncio.Event()
        self._catch_up_due = False

    def want(self, interest: frozenset[str]) -> None:
        """Set which metric types local clients want."""
        if interest != self.wanted:
            self.wanted = interest
            self._is_due.set()

    def catch_up(self) -> None:
        """Have what the channel layer lost filled in or announced soon."""
        self._catch_up_due = True
        self._is_due.set()

    def note_failure(self) -> None:
        """Note that a call of the bus or the history failed, so that metrics may be lost."""
        self._catch_up_due = True
        if self._has_history:
            # At once, since there may be no next metric. Without a history each attempt would announce one more gap.
            self._is_due.set()

    def note_reset(self) -> None:
        """Note that the channel and all memberships are gone, so that `keep` starts afresh."""
        self.opened.clear()
        self.joined = frozenset()
        self._catch_up_due = True

    async def wait_joined(self, metric_types: tuple[str, ...]) -> None:
        """Wait until the groups of these types are joined, so that nothing published after the reply is missed."""
        # A layer that does not answer is a fault that the watch of the bus tells once, not for each client.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(JOIN_SECONDS), self._joined_changed:
                await self._joined_changed.wait_for(lambda: self.joined.issuperset(metric_types))

    async def keep(self, hub: Hub, intake: Intake) -> None:
        """Join the groups of wanted types and leave the others until cancelled; join again every `rejoin_seconds`."""
        if not self.opened.is_set():
            await self._bus.open()
            self.opened.set()
        rejoin_at = time.monotonic() + self._rejoin_seconds
        while True:
            self._is_due.clear()
            wanted = self.wanted
            new = wanted - self.joined
            unheard = new - hub.offsets.keys()
            self._taken |= new
            await intake.begin(new)
            for metric_type in new:
                await self._bus.join(metric_type)
            for metric_type in self._taken - wanted:
                # Before the call: it may have left although it fails. The type must then be joined again when wanted.
                self._taken -= {metric_type}
                self.joined -= {metric_type}
                intake.end(metric_type)
                await self._bus.leave(metric_type)
            if self._catch_up_due:
                if self._has_history and unheard:
                    # Clients subscribed to these types before the bus could be heard; the history does not know when.
                    hub.announce_gap(GapReason.BUS, metric_types=unheard)
                # Before the call: a loss during the call must make it due again.
                self._catch_up_due = False
                await intake.catch_up(wanted)
            elif new and self._has_history:
                # Between the question of `begin` to the history and the joins, metrics may have been published.
                await intake.catch_up(new)
            async with self._joined_changed:
                self.joined = wanted
                self._joined_changed.notify_all()
            try:
                async with asyncio.timeout(max(0.0, rejoin_at - time.monotonic())):
                    await self._is_due.wait()
            except TimeoutError:
                for metric_type in self.joined:
                    await self._bus.join(metric_type)
                await self._bus.join_control()
                rejoin_at = time.monotonic() + self._rejoin_seconds
