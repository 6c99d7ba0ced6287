"""The runtime of an event loop: hub, bus and history, wired together once, with their background tasks supervised."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from metrics_stream.bus import bus as bus_module
from metrics_stream.bus.bus import Bus
from metrics_stream.bus.messages import (
    AccessChanged,
    CanaryMessage,
    CloseClient,
    DefinitionsChanged,
    Published,
    StatsRequest,
)
from metrics_stream.bus.redis_needs import RedisNeeds, layer_is_pubsub
from metrics_stream.conf import StreamSettings, get_settings
from metrics_stream.core.errors import BusError
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.history import open_history
from metrics_stream.history.recent_series import RecentSeries
from metrics_stream.hub.clients import HubLimits
from metrics_stream.hub.hub import Hub
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime import workers
from metrics_stream.runtime.bus_watch import BusWatch
from metrics_stream.runtime.clocks import Clocks
from metrics_stream.runtime.conflicts import SourceWatch
from metrics_stream.runtime.definitions import DefinitionsWatch
from metrics_stream.runtime.groups import GroupMembership
from metrics_stream.runtime.intake import Intake
from metrics_stream.runtime.layer_log import LayerLog
from metrics_stream.runtime.neighbours import Neighbours
from metrics_stream.runtime.publishing import Publishing
from metrics_stream.runtime.redis_watch import RedisWatch
from metrics_stream.runtime.run_sources import RunSources
from metrics_stream.runtime.statistics import Statistics
from metrics_stream.telemetry import Sample, Telemetry, of_process

T = TypeVar("T")

logger = logging.getLogger(__name__)

# A failed task is started again after this long: soon enough that viewers hardly notice, late enough not to spin.
RESTART_SECONDS = 0.5

LEAVE_SECONDS = 1.0
CANCEL_AGAIN_SECONDS = 0.2

# How often the recent series are brought up to date, so that a request for them waits for little.
KEEP_UP_SECONDS = 2.0


class Runtime:
    """The hub of one event loop, fed by one channel of the bus."""

    def __init__(self, settings: StreamSettings, telemetry: Telemetry) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.history = open_history(settings)
        self.loop = asyncio.get_running_loop()
        self.bus = Bus(
            group_prefix=settings.group_prefix,
            timeout_seconds=settings.bus_timeout_seconds,
            history=self.history,
        )
        self.membership = GroupMembership(
            self.bus, has_history=self.history is not None, rejoin_seconds=settings.rejoin_seconds
        )
        self.hub = Hub(
            clock=self.loop,
            limits=HubLimits(
                max_pending_metrics=settings.max_pending_metrics,
                max_pending_bytes=settings.max_pending_bytes,
                slow_client_bytes=settings.slow_client_bytes,
                slow_client_seconds=settings.slow_client_seconds,
            ),
            telemetry=telemetry,
            on_interest=self.membership.want,
        )
        self.recent = None
        if self.history is not None:
            slugs = settings.catalogue().slugs
            self.recent = RecentSeries(self.history, settings.history_seconds, slugs)
        self.run_sources = RunSources()
        self.clocks = Clocks(self.history)
        self.intake = Intake(self.hub, self.history, telemetry, self.run_sources.get, marks=self.clocks.marks)
        self.bus_watch = BusWatch(
            self.bus,
            self.hub,
            self.membership,
            latency_seconds=settings.latency_seconds,
            reconnect=self.reconnect,
        )
        self.source_watch = SourceWatch(self.hub)
        self.publishing = Publishing(self.bus, self.bus_watch)
        self.statistics = Statistics(
            settings,
            telemetry,
            bus=self.bus,
            publishing=self.publishing,
            hub=self.hub,
            bus_watch=self.bus_watch,
            clocks=self.clocks,
            source_watch=self.source_watch,
        )
        self._layer_log = LayerLog(self.bus_watch)
        self.neighbours = Neighbours(settings, self.history)
        self.access_changed = asyncio.Event()
        """Set when the permissions of some client may have changed; the access monitor clears it."""
        self.changed_owners: set[str | None] = set()
        """Whom the changes concern, None for everybody; the access monitor takes them."""
        self.definitions = DefinitionsWatch(settings.catalogue, self._note_new_definitions)
        """Reads the metric types that are declared; whoever serves clients has it run, by `watch`."""
        self.owned: dict[PerRuntime[Any], Any] = {}
        """The objects that packages above keep for this runtime; see PerRuntime."""
        # The tasks on the channel layer are started again after a reconnect.
        self._bus_tasks: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the background tasks; a task that fails is started again."""
        bus_module.listen_on(asyncio.get_running_loop())
        self._start_bus_tasks()
        self.watch("lag probe", self.statistics.measure_lag)
        self.watch("health", self.statistics.publish_health)
        self.watch("sources", self.source_watch.watch)
        if self.recent is not None:
            self.watch("recent series", self._keep_recent)
            self.watch("run sources", self.run_sources.follow)
        if self.bus.is_shared:  # the in-memory layer is part of this process and cannot fail
            self._layer_log.start()
            self.watch("canary", self.bus_watch.run)
            if layer_is_pubsub():
                needs = RedisNeeds(self.settings, has_history=self.history is not None)
                self.watch("rights", RedisWatch(needs, self.publishing).run)

    def _start_bus_tasks(self) -> None:
        self._bus_tasks = [
            self._start_task("membership", self._keep_membership, carries_metrics=True),
            self._start_task("listener", self._listen, carries_metrics=True),
        ]

    def watch(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until the runtime stops; start it again if it fails."""
        self._tasks.append(self._start_task(name, work))

    def _start_task(
        self, name: str, work: Callable[[], Awaitable[None]], *, carries_metrics: bool = False
    ) -> asyncio.Task[None]:
        return asyncio.create_task(self._supervise(name, work, carries_metrics=carries_metrics))

    async def reconnect(self) -> None:
        """Drop the connections to the channel layer, open new ones and join all groups again."""
        membership, listener = self._bus_tasks
        # First the task that joins groups: it must not find its channel gone. The listener leaves its channel when it
        # is cancelled, which takes a connection.
        await _end_tasks([membership])
        await self.bus.reset()
        await _end_tasks([listener])
        self.membership.note_reset()
        self._start_bus_tasks()

    async def stop(self) -> None:
        """Close every client with 4001 and end the tasks."""
        self._layer_log.stop()
        self.hub.close_all(CloseCode.GOING_AWAY, ErrorCode.GOING_AWAY, "the server stops; come back in a moment")
        self.hub.stop()
        # First the tasks that would join again, or reconnect, what is left here; the listener may continue to the end.
        membership, listener = self._bus_tasks
        for task in (membership, *self._tasks):
            task.cancel()
        if self.membership.opened.is_set():
            # A Redis that is away forgets this process anyway; the stop must not wait for it.
            with contextlib.suppress(BusError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self.bus.close(self.membership.joined)
        await _end_tasks([membership, listener, *self._tasks])
        # What was counted in the last second must stay in the sum after the process has ended.
        workers.publish_sample(self.statistics.sample())
        bus_module.listen_on(None)
        # What this runtime noted concerns no later one.
        faults.clear()

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]], *, carries_metrics: bool) -> None:
        """Run `work` for ever; announce a gap after a failure only if the task carries metrics to clients."""
        while True:
            try:
                await work()
            except BusError as error:
                self.membership.note_failure()
                self.telemetry.bus_failures += 1
                self.bus_watch.note_failure(name, error)
            except Exception:
                logger.exception("the %s task failed and is started again", name)
                self.telemetry.hub_failures += 1
                if carries_metrics:
                    self.hub.announce_gap(GapReason.INTERNAL, metric_types=self.membership.joined)
            await asyncio.sleep(RESTART_SECONDS)

    async def _keep_membership(self) -> None:
        await self.membership.keep(self.hub, self.intake)

    async def _listen(self) -> None:
        await self.membership.opened.wait()
        while True:
            message = await self.bus.receive()
            if isinstance(message, Published):
                if message.place is not None:
                    self.clocks.sources.observe(message.metrics, message.place.published_at)
                self.source_watch.observe(message)
                await self.intake.take(message)
            elif isinstance(message, CanaryMessage):
                self.bus_watch.hear(message.number)
            elif isinstance(message, AccessChanged):
                self.changed_owners.add(message.owner)
                self.access_changed.set()
            elif isinstance(message, DefinitionsChanged):
                self.definitions.note_change()
            elif isinstance(message, CloseClient):
                self.hub.close(message.client_id, CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, message.reason)
            elif isinstance(message, StatsRequest):
                await self.statistics.reply(message)

    def _note_new_definitions(self) -> None:
        """Have the access of every client checked: the metric types that it shows depend on those there are."""
        self.changed_owners.add(None)
        self.access_changed.set()

    async def _keep_recent(self) -> None:
        assert self.recent is not None, "the task is started only with a history"
        while True:
            await asyncio.sleep(KEEP_UP_SECONDS)
            # Nothing is lost by waiting for the next turn; a request meanwhile raises the error itself.
            with contextlib.suppress(BusError):
                await self.recent.keep_up(self.hub.interest)


async def _end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a call that fails at that moment may raise its error instead.

    A task that was cancelled before gets time to close what it has opened.
    """
    pending = set(tasks)
    for task in pending:
        if not task.cancelling():
            task.cancel()
    while pending:
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
        for task in pending:
            task.cancel()


class PerRuntime(Generic[T]):
    """One object for each runtime, made when it is first needed and dropped with the runtime.

    Packages above use it for what they keep in a server process: `access_monitor_of = PerRuntime(AccessMonitor)`. The
    runtime owns the object, which may therefore refer to the runtime; in a WeakKeyDictionary both would live for ever.
    """

    def __init__(self, make: Callable[[Runtime], T]) -> None:
        self._make = make

    def __call__(self, runtime: Runtime) -> T:
        """Return the object of a runtime."""
        if self not in runtime.owned:
            runtime.owned[self] = self._make(runtime)
        owned: T = runtime.owned[self]
        return owned


_runtimes: WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = WeakKeyDictionary()


def get_runtime() -> Runtime:
    """Return the runtime of the running event loop; make and start it at the first call."""
    loop = asyncio.get_running_loop()
    runtime = _runtimes.get(loop)
    if runtime is None:
        runtime = _runtimes[loop] = Runtime(get_settings(), of_process)
        runtime.start()
    return runtime


async def stop_runtime() -> None:
    """Stop the runtime of the running event loop, if there is one."""
    runtime = _runtimes.pop(asyncio.get_running_loop(), None)
    if runtime is not None:
        await runtime.stop()


def snapshot() -> dict[str, Any]:
    """Return the statistics of this process; see `Statistics.snapshot`."""
    return get_runtime().statistics.snapshot()


def samples() -> tuple[list[Sample], list[Sample]]:
    """Return the samples of all server processes, alive and gone; see `Statistics.samples`."""
    return get_runtime().statistics.samples()
