"""Watch whether the channel layer carries messages: send canaries, judge the silence, reconnect.

A lost connection to Redis can come back unnoticed. Only a message that this process sends to itself, and that does not
arrive, shows that messages are lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from metrics_stream.bus.bus import Bus
from metrics_stream.core.canary import BusState, Canary
from metrics_stream.core.errors import BusError
from metrics_stream.faults import FaultKind, of_process
from metrics_stream.hub.hub import Hub
from metrics_stream.runtime.groups import GroupMembership

# The process sends itself a message every second; after four seconds without one the bus counts as stale. This is
# judged before and after each attempt, which takes at most a second when Redis hangs: clients are told within five
# seconds, and the documents promise six.
CANARY_SECONDS = 1.0
SILENT_SECONDS = 4.0
# After this part of CANARY_SECONDS the next canary is sent if the last one has not come back: where connections break
# again and again, messages a second apart can all be lost while metrics published between them arrive.
IMPATIENT_PART = 0.25
# How often connections are opened again while the bus is stale. A connection to a Redis that hangs, and that sentinels
# have replaced, would stay silent for ever, since the kernel of that machine still answers.
RECONNECT_SECONDS = 5.0
# The channel layer counts as whole again when no call to it has failed for this long.
WHOLE_SECONDS = 2.0


class BusWatch:
    """Knows the state of the bus; tells the clients when it changes and fills in what was lost."""

    def __init__(
        self, bus: Bus, hub: Hub, membership: GroupMembership, *, reconnect: Callable[[], Awaitable[None]]
    ) -> None:
        """`reconnect` drops the connections to the channel layer and opens new ones."""
        self._bus = bus
        self._hub = hub
        self._membership = membership
        self._reconnect = reconnect
        self._canary = Canary(silent_seconds=SILENT_SECONDS, now=time.monotonic())
        self._problem_since: float | None = None
        self._last_error: str | None = None

    @property
    def state(self) -> BusState:
        """Whether canaries come back."""
        return self._canary.state

    def find_problem(self) -> str | None:
        """Return what keeps metrics from arriving, None if nothing does."""
        problem = None
        if not self._membership.opened.is_set():
            problem = "the channel layer could not be reached yet"
        elif self._canary.state == "stale":
            problem = f"the channel layer has been silent for more than {SILENT_SECONDS:g} s"
        elif missing := self._membership.wanted - self._membership.joined:
            problem = f"the groups of {', '.join(sorted(missing))} are not joined yet"
        return f"{problem} ({self._last_error})" if problem and self._last_error else problem

    def note_failure(self, action: str, error: BusError) -> None:
        """Note that a call to the channel layer or the history failed in a background task."""
        self._last_error = str(error)
        of_process.begin(FaultKind.CHANNEL_LAYER, self.find_problem() or f"{action}: {error}")
        of_process.count(FaultKind.CHANNEL_LAYER, "calls failed")

    def hear(self, number: int) -> None:
        """Take a canary that came back; if others were lost before it, catch up."""
        if self._canary.hear(number, time.monotonic()):
            self._membership.catch_up()
        self.judge(time.monotonic())

    async def run(self) -> None:
        """Send canaries until cancelled; while none comes back, reconnect."""
        loop = asyncio.get_running_loop()
        reconnect_at = 0.0
        while True:
            slept_at = loop.time()
            await asyncio.sleep(IMPATIENT_PART * CANARY_SECONDS)
            if not self._canary.is_awaited:
                await asyncio.sleep((1 - IMPATIENT_PART) * CANARY_SECONDS)
            # A blocked loop received nothing either; that is not a silence of the bus.
            was_blocked = loop.time() - slept_at >= 2 * CANARY_SECONDS
            if not was_blocked:
                self.judge(time.monotonic())
            if self._membership.opened.is_set():
                await self._send_canary()
            if not was_blocked:
                self.judge(time.monotonic())
            if self._canary.state == "stale" and loop.time() >= reconnect_at:
                await self._reconnect()
                reconnect_at = loop.time() + RECONNECT_SECONDS

    async def _send_canary(self) -> None:
        try:
            async with asyncio.timeout(CANARY_SECONDS):
                await self._bus.send_canary(self._canary.next_number)
                self._canary.sent()
        except BusError as error:
            self._last_error = str(error)  # Silence becomes a fault by itself, and this is its reason.
        except TimeoutError:
            pass

    def judge(self, now: float) -> None:
        """Tell clients if the state has changed, and note a fault; `now` is in seconds of the monotonic clock."""
        state = self._canary.judge(now)
        self._judge_fault(now)
        if state is None:
            return
        if state == "live":
            # The next metric would reveal what is missing before it, but there may be no next metric.
            self._membership.catch_up()
        self._hub.broadcast_status(state)

    def _judge_fault(self, now: float) -> None:
        problem = self.find_problem()
        if problem is None:
            self._problem_since = self._last_error = None
            of_process.end(FaultKind.CHANNEL_LAYER, quiet_seconds=WHOLE_SECONDS)
            return
        self._problem_since = now if self._problem_since is None else self._problem_since
        # A process that has just started, or that just got its first client, is not there yet.
        if self._canary.state == "stale" or now - self._problem_since > SILENT_SECONDS:
            of_process.begin(FaultKind.CHANNEL_LAYER, problem)
