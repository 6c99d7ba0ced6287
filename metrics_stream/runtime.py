"""Hub and bus of the running event loop: built once, lazily, started and stopped here, their tasks supervised here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from metrics_stream import bus as bus_module
from metrics_stream.audience import Client, HubLimits
from metrics_stream.bus import Bus, BusError, CanaryMessage, StatsRequest
from metrics_stream.conf import StreamSettings, get_settings
from metrics_stream.core.canary import Canary
from metrics_stream.core.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.core.delivery import Delivery
from metrics_stream.core.protocol import Subscription, format_timestamp
from metrics_stream.core.selection import Selection
from metrics_stream.hub import Hub
from metrics_stream.telemetry import Telemetry

logger = logging.getLogger(__name__)

# A crashed task is started again after this long: soon enough that viewers hardly notice, late enough not to spin.
RESTART_SECONDS = 1.0

# How long a reply to `subscribe` waits for the groups to be joined. Past it the client is told what it will get,
# although the layer is away: metrics come when it is back.
JOIN_SECONDS = 2.0
LEAVE_SECONDS = 1.0

# Every second a message to ourselves; after four without one the bus counts as stale, so that clients hear of it within
# six seconds even when Redis hangs and each attempt costs its whole second.
CANARY_SECONDS = 1.0
SILENT_SECONDS = 4.0


class Runtime:
    """The hub of one event loop, fed by one channel of the bus."""

    def __init__(self, settings: StreamSettings, telemetry: Telemetry) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.bus = Bus(group_prefix=settings.group_prefix, timeout_seconds=settings.bus_timeout_seconds)
        self.hub = Hub(
            clock=asyncio.get_running_loop(),
            limits=HubLimits(
                max_pending_metrics=settings.max_pending_metrics,
                max_pending_bytes=settings.max_pending_bytes,
                slow_client_bytes=settings.slow_client_bytes,
                slow_client_seconds=settings.slow_client_seconds,
            ),
            telemetry=telemetry,
            on_interest=self._interest_changed,
        )
        self._interest: frozenset[str] = frozenset()
        self._joined: frozenset[str] = frozenset()
        self._joined_changed = asyncio.Condition()
        self._membership_due = asyncio.Event()
        self._opened = asyncio.Event()
        self._bus_failed = False
        self.canary = Canary(silent_seconds=SILENT_SECONDS, now=time.monotonic())
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start listening; what fails is tried again until it works."""
        bus_module.listen_on(asyncio.get_running_loop())
        self._tasks = [
            asyncio.create_task(self._supervise("membership", self._keep_memberships)),
            asyncio.create_task(self._supervise("listener", self._listen)),
        ]
        if self.bus.is_shared:  # the in-memory layer is this process, and cannot go away
            self._tasks.append(asyncio.create_task(self._supervise("canary", self._watch_bus)))

    async def stop(self) -> None:
        """Close every client with 4001 and end the tasks."""
        self.hub.close_all(CloseCode.GOING_AWAY, ErrorCode.GOING_AWAY, "the server stops; come back in a moment")
        self.hub.stop()
        membership, *others = self._tasks
        membership.cancel()
        if self._opened.is_set():
            # A Redis that is away forgets us anyway; the stop must not wait for it.
            with contextlib.suppress(BusError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self.bus.close(self._joined)
        for task in others:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        bus_module.listen_on(None)

    async def wait_joined(self, metric_types: tuple[str, ...]) -> None:
        """Wait until these types are heard, so that nothing published after a confirmation is missed."""
        try:
            async with asyncio.timeout(JOIN_SECONDS), self._joined_changed:
                await self._joined_changed.wait_for(lambda: self._joined.issuperset(metric_types))
        except TimeoutError:
            logger.warning("the groups of %s are not joined yet", ", ".join(metric_types))

    def _interest_changed(self, interest: frozenset[str]) -> None:
        if interest != self._interest:
            self._interest = interest
            self._membership_due.set()

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except BusError as error:
                self._bus_failed = True
                self.telemetry.bus_failures += 1
                logger.warning("%s: %s; trying again", name, error)
            except Exception:
                logger.exception("the %s task failed and is started again", name)
                self.hub.announce_gap(GapReason.BUS, metric_types=self._joined)
            await asyncio.sleep(RESTART_SECONDS)

    async def _keep_memberships(self) -> None:
        """Join what local clients want and leave what nobody wants; join again periodically, since layers forget."""
        if not self._opened.is_set():
            await self.bus.open()
            self._opened.set()
        rejoin_at = time.monotonic() + self.settings.rejoin_seconds
        while True:
            self._membership_due.clear()
            wanted = self._interest
            for metric_type in wanted - self._joined:
                await self.bus.join(metric_type)
            for metric_type in self._joined - wanted:
                await self.bus.leave(metric_type)
            async with self._joined_changed:
                self._joined = wanted
                self._joined_changed.notify_all()
            if self._bus_failed:
                self._bus_failed = False
                self.hub.announce_gap(GapReason.BUS, metric_types=wanted)
            try:
                async with asyncio.timeout(max(0.0, rejoin_at - time.monotonic())):
                    await self._membership_due.wait()
            except TimeoutError:
                for metric_type in self._joined:
                    await self.bus.join(metric_type)
                await self.bus.join_control()
                rejoin_at = time.monotonic() + self.settings.rejoin_seconds

    async def _listen(self) -> None:
        await self._opened.wait()
        while True:
            message = await self.bus.receive()
            if isinstance(message, list):
                self.hub.publish(message)
            elif isinstance(message, CanaryMessage):
                if self.canary.hear(message.number, time.monotonic()):
                    self.hub.announce_gap(GapReason.BUS, metric_types=self._joined)
                self._judge_bus()
            elif isinstance(message, StatsRequest):
                # Who asked may be gone; that is no reason to stop listening.
                with contextlib.suppress(BusError):
                    await self.bus.reply_stats(message, self.snapshot())

    async def _watch_bus(self) -> None:
        """Send canaries, and notice when they do not come back."""
        loop = asyncio.get_running_loop()
        while True:
            slept_at = loop.time()
            await asyncio.sleep(CANARY_SECONDS)
            late = loop.time() - slept_at - CANARY_SECONDS
            if self._opened.is_set():
                with contextlib.suppress(BusError, TimeoutError):
                    async with asyncio.timeout(CANARY_SECONDS):
                        await self.bus.send_canary(self.canary.next_number())
            # A loop that was blocked heard nothing either; that is no silence of the bus.
            if late < CANARY_SECONDS:
                self._judge_bus()

    def _judge_bus(self) -> None:
        state = self.canary.judge(time.monotonic())
        if state is None:
            return
        logger.warning("the channel layer is %s", "silent" if state == "stale" else "back")
        self.hub.broadcast_status(state)

    def snapshot(self) -> dict[str, Any]:
        """Return the statistics of this process and of each of its clients, as plain JSON-able data."""
        return {
            "process": f"{socket.gethostname()}:{os.getpid()}",
            "bus": "shared" if self.bus.is_shared else "in-memory",
            **self.telemetry.snapshot(),
            "started_at": format_timestamp(self.telemetry.started_at),
            "bus_state": self.canary.state,
            "views": self.hub.view_count,
            "metric_types": sorted(self.hub.interest),
            "clients": [_describe(client) for client in self.hub.clients.values()],
        }


def _describe(client: Client) -> dict[str, Any]:
    return {
        "client_id": client.id,
        "connected_since": format_timestamp(client.connected_at),
        "messages_sent": client.messages_sent,
        "metrics_sent": client.metrics_sent,
        "bytes_sent": client.bytes_sent,
        "metrics_dropped": client.metrics_dropped,
        "subscription": msgspec.to_builtins(subscription_of(client.selection, client.delivery)),
    }


def subscription_of(selection: Selection, delivery: Delivery, preset: str | None = None) -> Subscription:
    """Return selection and delivery as they stand on the wire."""
    return Subscription(
        metric_types=selection.metric_types,
        filters=selection.filters,
        interval_seconds=delivery.interval_seconds,
        batch_size=delivery.batch_size,
        batch_timeout_seconds=delivery.batch_timeout_seconds,
        mode=delivery.mode,
        preset=preset,
    )


_telemetry = Telemetry()
_runtimes: WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = WeakKeyDictionary()


def get_runtime() -> Runtime:
    """Return the runtime of the running event loop, started when it is not there yet."""
    loop = asyncio.get_running_loop()
    runtime = _runtimes.get(loop)
    if runtime is None:
        runtime = _runtimes[loop] = Runtime(get_settings(), _telemetry)
        runtime.start()
    return runtime


async def stop_runtime() -> None:
    """Stop the runtime of the running event loop, if there is one."""
    runtime = _runtimes.pop(asyncio.get_running_loop(), None)
    if runtime is not None:
        await runtime.stop()


def snapshot() -> dict[str, Any]:
    """Return the statistics of this process; see `Runtime.snapshot`."""
    return get_runtime().snapshot()
