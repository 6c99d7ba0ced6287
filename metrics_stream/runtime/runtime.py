"""Hub and bus of the running event loop: built once, lazily, started and stopped here, their tasks supervised here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import psutil

from metrics_stream.bus import bus as bus_module
from metrics_stream.bus.bus import AccessChanged, Bus, CanaryMessage, CloseClient, Published, StatsRequest
from metrics_stream.conf import StreamSettings, get_settings
from metrics_stream.core.canary import Canary
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.errors import BusError
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.catalogue import STREAM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode, GapReason
from metrics_stream.history import open_history
from metrics_stream.history.recent_series import RecentSeries
from metrics_stream.hub.clients import HubLimits
from metrics_stream.hub.hub import Hub
from metrics_stream.hub.inspection import answer_question, describe_all
from metrics_stream.runtime import workers
from metrics_stream.runtime.groups import GroupMembership
from metrics_stream.runtime.health import health
from metrics_stream.runtime.intake import Intake
from metrics_stream.telemetry import Sample, Telemetry, of_process

logger = logging.getLogger(__name__)

# A crashed task is started again after this long: soon enough that viewers hardly notice, late enough not to spin.
RESTART_SECONDS = 0.5

LEAVE_SECONDS = 1.0
CANCEL_AGAIN_SECONDS = 0.2

# Every second a message to ourselves; after four without one the bus counts as stale. That is judged before and after
# each attempt, which takes a second at most when Redis hangs: clients hear of it within five seconds, and six are
# promised.
CANARY_SECONDS = 1.0
SILENT_SECONDS = 4.0
# After so large a part of that, one that has not come back is followed by the next: where connections break again and
# again, messages a second apart can all be lost while what is published between them arrives.
IMPATIENT_PART = 0.25
# While it is stale, connections are made anew this often: one to a Redis that hangs while sentinels have put another in
# its place would stay silent for good, since the kernel of that machine still answers.
RECONNECT_SECONDS = 5.0

# How often the series of the recent past are brought up to date, so that whoever asks need not wait for much.
KEEP_UP_SECONDS = 2.0

# How often the process looks at itself: for the stream's own metric, and for the other server processes.
SAMPLE_SECONDS = 1.0
# Often enough that a loop that is late for a tenth of a second is seen, seldom enough to cost nothing.
LAG_PROBE_SECONDS = 0.1


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
        self.intake = Intake(self.hub, self.history, telemetry)
        self.companions: dict[type, object] = {}
        """What rooms above keep for as long as the runtime lives, by its class."""
        self.access_changed = asyncio.Event()
        """Set when somebody may see more or less than before; whoever watches that clears it."""
        self.canary = Canary(silent_seconds=SILENT_SECONDS, now=time.monotonic())
        self._process = psutil.Process()
        # Those on the channel layer are begun anew with it.
        self._bus_tasks: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start listening; what fails is tried again until it works."""
        bus_module.listen_on(asyncio.get_running_loop())
        self._start_bus_tasks()
        self._tasks = [
            self._start_task("lag probe", self._measure_lag),
            self._start_task("health", self._publish_health),
        ]
        if self.recent is not None:
            self._tasks.append(self._start_task("recent series", self._keep_recent))
        if self.bus.is_shared:  # the in-memory layer is this process, and cannot go away
            self._tasks.append(self._start_task("canary", self._watch_bus))

    def _start_bus_tasks(self) -> None:
        self._bus_tasks = [
            self._start_task("membership", self._keep_membership, carries=True),
            self._start_task("listener", self._listen, carries=True),
        ]

    def watch(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until the runtime stops; what fails is started again."""
        self._tasks.append(self._start_task(name, work))

    def _start_task(
        self, name: str, work: Callable[[], Awaitable[None]], *, carries: bool = False
    ) -> asyncio.Task[None]:
        return asyncio.create_task(self._supervise(name, work, carries=carries))

    async def _reconnect(self) -> None:
        """Begin anew with the channel layer."""
        await self.bus.reset()
        await _end(self._bus_tasks)
        self.membership.begin_anew()
        self._start_bus_tasks()

    async def stop(self) -> None:
        """Close every client with 4001 and end the tasks."""
        self.hub.close_all(CloseCode.GOING_AWAY, ErrorCode.GOING_AWAY, "the server stops; come back in a moment")
        self.hub.stop()
        # First those that would join again, or connect anew, what is left here; the listener may hear to the end.
        membership, listener = self._bus_tasks
        for task in (membership, *self._tasks):
            task.cancel()
        if self.membership.opened.is_set():
            # A Redis that is away forgets us anyway; the stop must not wait for it.
            with contextlib.suppress(BusError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self.bus.close(self.membership.joined)
        await _end([membership, listener, *self._tasks])
        # What was counted since the last second counts too, once the process is gone.
        workers.publish_sample(self.sample())
        bus_module.listen_on(None)

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]], *, carries: bool) -> None:
        """Do the work for good; only where metrics pass, when it `carries` them, does a failure cost clients some."""
        while True:
            try:
                await work()
            except BusError as error:
                self.membership.note_failure()
                self.telemetry.bus_failures += 1
                logger.warning("%s: %s; trying again", name, error)
            except Exception:
                logger.exception("the %s task failed and is started again", name)
                self.telemetry.hub_failures += 1
                if carries:
                    self.hub.announce_gap(GapReason.INTERNAL, metric_types=self.membership.joined)
            await asyncio.sleep(RESTART_SECONDS)

    async def _keep_membership(self) -> None:
        await self.membership.keep(self.hub, self.intake)

    async def _listen(self) -> None:
        await self.membership.opened.wait()
        while True:
            message = await self.bus.receive()
            if isinstance(message, Published):
                await self.intake.take(message)
            elif isinstance(message, CanaryMessage):
                if self.canary.hear(message.number, time.monotonic()):
                    self.membership.catch_up()
                self._judge_bus()
            elif isinstance(message, AccessChanged):
                self.access_changed.set()
            elif isinstance(message, CloseClient):
                self.hub.close(message.client_id, CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, message.reason)
            elif isinstance(message, StatsRequest):
                await self._reply(message)

    async def _reply(self, request: StatsRequest) -> None:
        """Answer a request; neither a fault in that nor that who asked is gone keeps the listener from going on."""
        try:
            answer = self.snapshot() if request.question is None else self.answer(request.question)
            if answer is not None:
                await self.bus.reply_stats(request, answer)
        except BusError:
            pass
        except Exception:
            logger.exception("a request for statistics could not be answered")

    async def _watch_bus(self) -> None:
        """Send canaries, and notice when they do not come back."""
        loop = asyncio.get_running_loop()
        reconnect_at = 0.0
        while True:
            slept_at = loop.time()
            await asyncio.sleep(IMPATIENT_PART * CANARY_SECONDS)
            if not self.canary.is_awaited:
                await asyncio.sleep((1 - IMPATIENT_PART) * CANARY_SECONDS)
            # A loop that was blocked heard nothing either; that is no silence of the bus.
            was_blocked = loop.time() - slept_at >= 2 * CANARY_SECONDS
            if not was_blocked:
                self._judge_bus()
            if self.membership.opened.is_set():
                with contextlib.suppress(BusError, TimeoutError):
                    async with asyncio.timeout(CANARY_SECONDS):
                        await self.bus.send_canary(self.canary.next_number)
                        self.canary.sent()
            if not was_blocked:
                self._judge_bus()
            if self.canary.state == "stale" and loop.time() >= reconnect_at:
                await self._reconnect()
                reconnect_at = loop.time() + RECONNECT_SECONDS

    def _judge_bus(self) -> None:
        state = self.canary.judge(time.monotonic())
        if state is None:
            return
        logger.warning("the channel layer is %s", "silent" if state == "stale" else "back")
        if state == "live":
            # What is published next tells what is missing before it, but it may be that nothing is.
            self.membership.catch_up()
        self.hub.broadcast_status(state)

    async def _keep_recent(self) -> None:
        """Keep what clients may ask for at hand."""
        assert self.recent is not None, "the task is started only with a history"
        while True:
            await asyncio.sleep(KEEP_UP_SECONDS)
            # It has time until somebody asks; who does then hears of it.
            with contextlib.suppress(BusError):
                await self.recent.keep_up(self.hub.interest)

    # --- what the process says of itself ---

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_PROBE_SECONDS
            await asyncio.sleep(LAG_PROBE_SECONDS)
            self.telemetry.loop_lag_seconds.observe(max(0.0, loop.time() - due))

    async def _publish_health(self) -> None:
        metric_type = self.settings.catalogue().types[STREAM.slug]
        before = self.sample()
        workers.publish_sample(before)
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            now = self.sample()
            workers.publish_sample(now)
            metric = encode_metric(
                metric_type,
                health(now, before),
                timestamp=now.at,
                source=now.process,
                max_bytes=self.settings.max_metric_bytes,
            )
            before = now
            # Whoever watches sees a silence then, and the canary tells why.
            with contextlib.suppress(BusError):
                await self.bus.publish([metric])

    def sample(self) -> Sample:
        """Return what this process has counted and what it is, as it is now; later counting leaves it as it is."""
        return Sample(
            process=process_name(),
            pid=os.getpid(),
            at=time.time(),
            telemetry=self.telemetry.copy(),
            views=self.hub.view_count,
            bus_live=self.bus_problem() is None,
            cpu_seconds=time.process_time(),
            memory_bytes=self._process.memory_info().rss,
        )

    def bus_problem(self) -> str | None:
        """Return what keeps metrics from arriving, None when nothing does."""
        if not self.membership.opened.is_set():
            return "the channel layer could not be reached yet"
        if self.canary.state == "stale":
            return f"the channel layer has been silent for more than {SILENT_SECONDS:g} s"
        if missing := self.membership.wanted - self.membership.joined:
            return f"the groups of {', '.join(sorted(missing))} are not joined yet"
        return None

    def snapshot(self) -> dict[str, Any]:
        """Return the statistics of this process and of each of its clients, as plain JSON-able data."""
        return {
            "process": process_name(),
            "bus": "shared" if self.bus.is_shared else "in-memory",
            **self.telemetry.snapshot(),
            "started_at": format_timestamp(self.telemetry.started_at),
            "bus_state": self.canary.state,
            "views": self.hub.view_count,
            "metric_types": sorted(self.hub.interest),
            "clients": describe_all(self.hub.clients.values(), self.loop.time()),
        }

    def answer(self, question: Question) -> dict[str, Any] | None:
        """Return what a client is, and why it gets the metric that is asked about; None when it is not here."""
        client = self.hub.clients.get(question.client_id)
        if client is None:
            return None
        [described] = describe_all([client], self.loop.time())
        answer: dict[str, Any] = {"process": process_name(), "client": described, "explanation": None}
        if question.metric_type:
            answer["explanation"] = answer_question(
                question,
                self.hub,
                now=self.loop.time(),
                catalogue=self.settings.catalogue(),
                bus_problem=self.bus_problem(),
                slow_after_seconds=self.settings.slow_client_seconds,
            )
        return answer


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a call that fails just then may tell of its failure instead."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)


def process_name() -> str:
    """Return by what name this process is told from others: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


_runtimes: WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = WeakKeyDictionary()


def get_runtime() -> Runtime:
    """Return the runtime of the running event loop, started when it is not there yet."""
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
    """Return the statistics of this process; see `Runtime.snapshot`."""
    return get_runtime().snapshot()


def samples() -> tuple[list[Sample], list[Sample]]:
    """Return the samples of all server processes: those that are alive, this one first, and those that are gone."""
    own = get_runtime().sample()
    # Whoever answers next must not know less.
    workers.publish_sample(own)
    others = workers.other_samples(own.pid)
    alive = [sample for sample in others if workers.is_alive(sample, own.at)]
    return [own, *alive], [sample for sample in others if sample not in alive]
