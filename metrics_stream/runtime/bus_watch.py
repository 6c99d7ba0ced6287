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
from metrics_stream.core.errors import BusError, WrongNodeError
from metrics_stream.hub.hub import Hub
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runtime.groups import GroupMembership
from metrics_stream.runtime.latency_watch import LatencyWatch

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
        self,
        bus: Bus,
        hub: Hub,
        membership: GroupMembership,
        *,
        latency_seconds: float,
        reconnect: Callable[[], Awaitable[None]],
    ) -> None:
        """`latency_seconds` is what is promised; `reconnect` opens new connections to the channel layer."""
        self._latency_watch = LatencyWatch(latency_seconds)
        self._sent_at: dict[int, float] = {}
        self._bus = bus
        self._hub = hub
        self._membership = membership
        self._reconnect = reconnect
        self._canary = Canary(silent_seconds=SILENT_SECONDS, now=time.monotonic())
        self._state: BusState = "live"
        self._unpublished_since: float | None = None
        self._is_refused = False
        self._is_on_wrong_node = False
        self._problem_since: float | None = None
        self._last_error: str | None = None
        self._heard_since_failure = True

    @property
    def state(self) -> BusState:
        """Whether canaries come back and metrics can be published."""
        return self._state

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
        self._heard_since_failure = False
        of_process.begin(FaultKind.CHANNEL_LAYER, self.find_problem() or f"{action}: {error}")
        of_process.count(FaultKind.CHANNEL_LAYER, "calls failed")

    def note_unpublished(self, error: BusError) -> None:
        """Note that metrics could not be published."""
        if self._unpublished_since is None:
            self._unpublished_since = time.monotonic()
        if isinstance(error, WrongNodeError):
            self._is_on_wrong_node = True

    def note_published(self) -> None:
        """Note that a metric was published."""
        self._unpublished_since = None

    def hear(self, number: int) -> None:
        """Take a canary that came back; if others were lost before it, catch up."""
        now = time.monotonic()
        self._heard_since_failure = True
        sent_at = self._sent_at.get(number)
        # After a silence, which is a fault of its own, old messages may come late.
        if sent_at is not None and self._canary.state == "live":
            self._latency_watch.observe(now - sent_at, "a message over the channel layer took")
        self._sent_at = {later: at for later, at in self._sent_at.items() if later > number}
        if self._canary.hear(number, now):
            self._membership.catch_up()
        self.judge(now)

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
            is_silent = self._canary.state == "stale" and loop.time() >= reconnect_at
            if is_silent or (self._is_on_wrong_node and self._unpublished_since is None):
                # The history has found the right node, and the subscriptions are still on the wrong one.
                self._is_on_wrong_node = False
                await self._reconnect()
                reconnect_at = loop.time() + RECONNECT_SECONDS

    async def _send_canary(self) -> None:
        try:
            async with asyncio.timeout(CANARY_SECONDS):
                self._sent_at[self._canary.next_number] = time.monotonic()
                await self._bus.send_canary(self._canary.next_number)
                self._canary.sent()
        except BusError as error:
            self._last_error = str(error)  # Silence becomes a fault by itself, and this is its reason.
        except TimeoutError:
            pass

    def judge(self, now: float) -> None:
        """Tell clients if the state has changed, and note a fault; `now` is in seconds of the monotonic clock."""
        self._canary.judge(now)
        self._judge_fault(now)
        state = self._judge_state(now)
        if state == self._state:
            return
        self._state = state
        if state == "live":
            # The next metric would reveal what is missing before it, but there may be no next metric.
            self._membership.catch_up()
        self._hub.broadcast_status(state)

    def _judge_state(self, now: float) -> BusState:
        if self._canary.state == "stale":
            self._is_refused = False
            return "stale"
        since = self._unpublished_since
        # A Redis without memory takes some metrics and refuses others: the state must not change with each of them.
        self._is_refused = of_process.has(FaultKind.PUBLISHING) and (
            self._is_refused or (since is not None and now - since > SILENT_SECONDS)
        )
        return "stale" if self._is_refused or of_process.has(FaultKind.REDIS) else "live"

    def _judge_fault(self, now: float) -> None:
        problem = self.find_problem()
        if problem is None:
            self._problem_since = self._last_error = None
            # A Redis that loads its data takes connections, and carries nothing yet.
            if self._heard_since_failure:
                of_process.end(FaultKind.CHANNEL_LAYER, quiet_seconds=WHOLE_SECONDS)
            return
        self._problem_since = now if self._problem_since is None else self._problem_since
        # A process that has just started, or that just got its first client, is not there yet.
        if self._canary.state == "stale" or now - self._problem_since > SILENT_SECONDS:
            of_process.begin(FaultKind.CHANNEL_LAYER, problem)
