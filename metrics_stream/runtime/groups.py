"""Which groups of the channel layer a process is in: those of the metric types that its clients want.

Between hub and bus. Layers forget memberships and lose what is sent, so groups are joined again from time to time, and
what was not heard meanwhile is filled in or announced.
"""

from __future__ import annotations

import asyncio
import logging
import time

from metrics_stream.bus.bus import Bus
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.hub.hub import Hub
from metrics_stream.runtime.intake import Intake

logger = logging.getLogger(__name__)

# How long a reply to `subscribe` waits for the groups to be joined. Past it the client is told what it will get,
# although the layer is away: metrics come when it is back.
JOIN_SECONDS = 2.0


class GroupMembership:
    """Joins and leaves groups as what local clients want changes; `keep` does it, for a task that starts it again."""

    def __init__(self, bus: Bus, *, has_history: bool, rejoin_seconds: float) -> None:
        self.wanted: frozenset[str] = frozenset()
        self.joined: frozenset[str] = frozenset()
        self.opened = asyncio.Event()
        """Set while the process has a channel, on which it can hear."""
        self._bus = bus
        self._has_history = has_history
        self._rejoin_seconds = rejoin_seconds
        # Those that the intake takes: joined, or to be joined as soon as the layer is there again.
        self._begun: frozenset[str] = frozenset()
        self._joined_changed = asyncio.Condition()
        self._is_due = asyncio.Event()
        self._catch_up_due = False

    def want(self, interest: frozenset[str]) -> None:
        """Hear which metric types local clients want."""
        if interest != self.wanted:
            self.wanted = interest
            self._is_due.set()

    def catch_up(self) -> None:
        """See to it that what the channel layer lost is filled in or announced."""
        self._catch_up_due = True
        self._is_due.set()

    def note_failure(self) -> None:
        """Hear that a call of the bus failed, or one of the history: what it was about may be lost."""
        self._catch_up_due = True
        if self._has_history:
            # At once: there may be no next metric. Without a history each attempt would be one more gap.
            self._is_due.set()

    def begin_anew(self) -> None:
        """Hear that the channel and all memberships are gone."""
        self.opened.clear()
        self.joined = frozenset()
        self._catch_up_due = True

    async def wait_joined(self, metric_types: tuple[str, ...]) -> None:
        """Wait until these types are heard, so that nothing published after a confirmation is missed."""
        try:
            async with asyncio.timeout(JOIN_SECONDS), self._joined_changed:
                await self._joined_changed.wait_for(lambda: self.joined.issuperset(metric_types))
        except TimeoutError:
            logger.warning("the groups of %s are not joined yet", ", ".join(metric_types))

    async def keep(self, hub: Hub, intake: Intake) -> None:
        """Join what local clients want and leave what nobody wants; join again periodically, since layers forget."""
        if not self.opened.is_set():
            await self._bus.open()
            self.opened.set()
        rejoin_at = time.monotonic() + self._rejoin_seconds
        while True:
            self._is_due.clear()
            wanted = self.wanted
            new = wanted - self.joined
            unheard = new - hub.offsets.keys()
            self._begun |= new
            await intake.begin(new)
            for metric_type in new:
                await self._bus.join(metric_type)
            for metric_type in self._begun - wanted:
                # Before the call: one that fails has left all the same, and must join when the type is wanted again.
                self._begun -= {metric_type}
                self.joined -= {metric_type}
                intake.end(metric_type)
                await self._bus.leave(metric_type)
            if self._catch_up_due:
                if self._has_history and unheard:
                    # Clients wait for these since before they could be heard; from where on, the history cannot tell.
                    hub.announce_gap(GapReason.BUS, metric_types=unheard)
                # Before the call: what is lost meanwhile makes it due once more.
                self._catch_up_due = False
                await intake.catch_up(wanted)
            elif new and self._has_history:
                # What was published before the groups were joined, and after the history was asked where it stands.
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
