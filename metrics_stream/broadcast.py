"""The helper that producers call: asynchronous functions, and `Broadcaster` for threads and plain synchronous code.

await broadcast_system_metrics({"throughput_tps": 950.0})

with Broadcaster() as stream:
    stream.broadcast_system_metrics({"throughput_tps": 950.0})
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, Self, TypedDict
from weakref import WeakSet

from metrics_stream import native_threads
from metrics_stream.bus import MAX_BATCH_METRICS, Bus, Publication, Publisher, batches
from metrics_stream.conf import get_settings
from metrics_stream.core.encoding import encode_metric, epoch_seconds
from metrics_stream.core.metrics import Metric, MetricError, MetricsStreamError
from metrics_stream.core.sketch import Sketch as Sketch  # noqa: PLC0414 - for producers, who import from here
from metrics_stream.deadline import BusError
from metrics_stream.history import open_history
from metrics_stream.native_threads import NativeThread, NativeThreadError

if TYPE_CHECKING:
    from metrics_stream.runs import RunBlock

logger = logging.getLogger(__name__)

Timestamp = datetime | float | None

# The thread waits this long after the first metric for what is published with it, so that one message carries many.
LINGER_SECONDS = 0.01
RETRY_SECONDS = (0.1, 2.0)
EXIT_FLUSH_SECONDS = 2.0


class BroadcastError(MetricsStreamError):
    """The metrics could not be handed to the channel layer; the message says why and what to do."""


class MetricInput(TypedDict):
    """One metric as `broadcast_many` takes it."""

    metric_type: str
    data: Any
    timestamp: NotRequired[Timestamp]
    source: NotRequired[str | None]


def make_metric(metric_type: str, data: Any, timestamp: Timestamp = None, source: str | None = None) -> Metric:
    """Return the metric that `data` is, encoded; raise MetricError naming what is wrong and what is allowed."""
    settings = get_settings()
    types = settings.catalogue().types
    if metric_type not in types:
        raise MetricError(f"unknown metric type {metric_type!r}; allowed: {', '.join(types)}")
    return encode_metric(
        types[metric_type],
        data,
        timestamp=epoch_seconds(timestamp, time.time()),
        source=settings.source if source is None else source,
        max_bytes=settings.max_metric_bytes,
    )


def _bus() -> Bus:
    settings = get_settings()
    try:
        return Bus(
            group_prefix=settings.group_prefix,
            timeout_seconds=settings.bus_timeout_seconds,
            history=open_history(settings),
        )
    except BusError as error:
        raise BroadcastError(str(error)) from error


# --- asynchronous ---


async def broadcast(metric_type: str, data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
    """Publish one metric; return when the channel layer has it.

    Raises MetricError for a value that cannot be a metric, BroadcastError when the channel layer does not take it.
    """
    await _publish([make_metric(metric_type, data, timestamp, source)])


async def broadcast_many(items: Iterable[MetricInput]) -> None:
    """Publish several metrics at once, in order; nothing is published when one of them cannot be a metric."""
    await _publish([make_metric(**item) for item in items])


async def _publish(metrics: list[Metric]) -> None:
    try:
        await _bus().publish(metrics)
    except BusError as error:
        raise BroadcastError(str(error)) from error


async def broadcast_system_metrics(data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
    """Publish system metrics: throughput, latency, errors, resources."""
    await broadcast("system", data, timestamp, source=source)


async def broadcast_agent_metrics(data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
    """Publish the metrics of agents: a list of objects with `agent_id`, or one of them."""
    await broadcast("agent", data, timestamp, source=source)


async def broadcast_business_metrics(data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
    """Publish business metrics: fraud, cost, return on investment."""
    await broadcast("business", data, timestamp, source=source)


async def broadcast_hero_metrics(data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
    """Publish the few large numbers of a presentation."""
    await broadcast("hero", data, timestamp, source=source)


async def broadcast_presentation_data(data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
    """Publish a complete package for a presentation."""
    await broadcast("presentation", data, timestamp, source=source)


# --- threads and synchronous code ---


class Outage(NamedTuple):
    """A time in which the channel layer takes nothing."""

    began_at: float
    dropped_before: int


class Broadcaster:
    """Publishes from a thread of its own: every call returns at once and never blocks the stress test.

    Metrics wait in a queue of `max_queued`; past it the oldest are dropped and counted. What the channel layer does
    not take is tried again. Safe to use from several threads, in a program that gevent has patched, where only the
    greenlet that flushes or closes waits, and after a fork, where the child starts empty.
    """

    def __init__(self, *, source: str | None = None, max_queued: int = 10_000) -> None:
        """Raise BroadcastError when nothing published from this process could reach a client."""
        if max_queued < 1:
            raise ValueError(f"max_queued is {max_queued}; it must be at least 1")
        try:
            _bus().check_reach()
            native_threads.prepare()
        except (BusError, NativeThreadError) as error:
            raise BroadcastError(str(error)) from error
        self._source = source
        self._max_queued = max_queued
        self._closed = False
        self._reset()
        _open.add(self)

    def _reset(self) -> None:
        self.published = 0
        self.dropped = 0
        self.last_error: str | None = None
        """Why nothing leaves at the moment, or None."""
        self._queue: deque[Metric] = deque()
        self._in_flight = 0
        self._outage: Outage | None = None
        self._lock = native_threads.new_lock()
        self._news = native_threads.Signal()
        self._thread: NativeThread | None = None

    @property
    def queued(self) -> int:
        """Metrics that have not left yet."""
        with self._lock:
            return len(self._queue) + self._in_flight

    # --- publishing ---

    def broadcast(self, metric_type: str, data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
        """Queue one metric; raise MetricError for a value that cannot be one."""
        self._enqueue([make_metric(metric_type, data, timestamp, self._source if source is None else source)])

    def broadcast_many(self, items: Iterable[MetricInput]) -> None:
        """Queue several metrics in order; none is queued when one of them cannot be a metric."""
        defaults: dict[str, Any] = {"source": self._source}
        self._enqueue([make_metric(**{**defaults, **item}) for item in items])

    def broadcast_system_metrics(self, data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
        """Queue system metrics: throughput, latency, errors, resources."""
        self.broadcast("system", data, timestamp, source=source)

    def broadcast_agent_metrics(self, data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
        """Queue the metrics of agents: a list of objects with `agent_id`, or one of them."""
        self.broadcast("agent", data, timestamp, source=source)

    def broadcast_business_metrics(self, data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
        """Queue business metrics: fraud, cost, return on investment."""
        self.broadcast("business", data, timestamp, source=source)

    def broadcast_hero_metrics(self, data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
        """Queue the few large numbers of a presentation."""
        self.broadcast("hero", data, timestamp, source=source)

    def broadcast_presentation_data(self, data: Any, timestamp: Timestamp = None, *, source: str | None = None) -> None:
        """Queue a complete package for a presentation."""
        self.broadcast("presentation", data, timestamp, source=source)

    def _enqueue(self, metrics: list[Metric]) -> None:
        with self._lock:
            if self._closed:
                raise BroadcastError("this Broadcaster is closed; make a new one")
            self._check_thread()
            was_empty = not self._queue
            self._queue.extend(metrics)
            while self._queue and self.queued > self._max_queued:
                self._queue.popleft()
                self.dropped += 1
        if was_empty:
            self._news.set()

    def _check_thread(self) -> None:
        try:
            if self._thread is None:
                self._thread = NativeThread(self._run, "metrics-broadcaster")
            self._thread.check()
        except NativeThreadError as error:
            raise BroadcastError(str(error)) from error

    # --- waiting and ending ---

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything queued has left; return False when that took longer than `timeout` seconds."""
        return native_threads.wait_until(lambda: self.queued == 0, timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Flush, then end the thread; return False when something could not leave within `timeout` seconds."""
        self.flush(timeout)
        with self._lock:
            self._closed = True
            dropped_before = self.dropped
            self.dropped += len(self._queue)
            self._queue.clear()
            thread = self._thread
        self._news.set()
        if thread is not None:
            native_threads.wait_until(lambda: thread.ended, timeout)
        _open.discard(self)
        # What is still in flight may yet arrive; nobody will know.
        lost = self.dropped - dropped_before + self.queued
        if lost:
            logger.warning("%d metrics were not published: %s", lost, self.last_error or "no time was left")
        return lost == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the thread ---

    def _run(self, thread: NativeThread, loop: asyncio.AbstractEventLoop) -> None:
        publisher = Publisher()
        while self._wait_for_metrics():
            with self._lock:
                taken = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH_METRICS))]
                self._in_flight = len(taken)
            for batch in batches(taken):
                publication = publisher.prepare(batch)
                published = self._publish(publication, thread, loop)
                with self._lock:
                    self._in_flight -= publication.count
                    self.published += publication.count if published else 0
                    self.dropped += 0 if published else publication.count

    def _wait_for_metrics(self) -> bool:
        while not self._queue and not self._closed:
            self._news.wait()
        self._closes_within(LINGER_SECONDS)
        return bool(self._queue)

    def _closes_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._closed and (left := deadline - time.monotonic()) > 0:
            self._news.wait(left)
        return self._closed

    def _publish(self, publication: Publication, thread: NativeThread, loop: asyncio.AbstractEventLoop) -> bool:
        """Try until the channel layer takes it; return False when it never will."""
        wait = RETRY_SECONDS[0]
        while True:
            try:
                loop.run_until_complete(_send(publication))
            except (BusError, BroadcastError) as error:
                self.last_error = str(error)
                if self._outage is None:
                    self._outage = Outage(time.monotonic(), self.dropped)
                    thread.log(logger, logging.WARNING, "metrics wait to be published: %s", error)
            except Exception as error:
                # Nothing that trying again would mend; the thread goes on with what comes next.
                self.last_error = f"{type(error).__name__}: {error}"
                message = "%d metrics could not be published and are dropped"
                thread.log(logger, logging.ERROR, message, publication.count, exc_info=error)
                return False
            else:
                self.last_error = None
                self._end_outage(thread)
                return True
            # In the queue they count against its bound: a long outage costs the oldest, never memory.
            if self._closes_within(wait):
                return False
            wait = min(wait * 2, RETRY_SECONDS[1])

    def _end_outage(self, thread: NativeThread) -> None:
        if self._outage is None:
            return
        seconds, dropped = time.monotonic() - self._outage.began_at, self.dropped - self._outage.dropped_before
        self._outage = None
        message = "metrics are published again after %.1f s: %d waited, %d were dropped meanwhile"
        thread.log(logger, logging.WARNING, message, seconds, self.queued, dropped)


async def _send(publication: Publication) -> None:
    await _bus().send(publication)


_open: WeakSet[Broadcaster] = WeakSet()


def _for_each_open(action: Callable[[Broadcaster], object]) -> None:
    for broadcaster in list(_open):
        action(broadcaster)


# A forked child has neither the thread nor a right to the parent's metrics: it starts empty, with a lock of its own.
os.register_at_fork(after_in_child=lambda: _for_each_open(Broadcaster._reset))
atexit.register(_for_each_open, lambda broadcaster: broadcaster.close(EXIT_FLUSH_SECONDS))


# --- test runs ---


def stress_test_run(
    name: str,
    *,
    sources: Iterable[str] | None = None,
    target_tps: float | None = None,
    tags: Iterable[str] = (),
    notes: str = "",
) -> RunBlock:
    """Return a block, for `with` and `async with`, that is a test run; it gives the TestRun.

    `sources` are those whose metrics belong to the run: None is what this program publishes as, the setting SOURCE,
    and an empty one every source. The run ends as the block does: `completed`, `failed` with the exception in its
    notes, or `cancelled`. Raises RunError when the run cannot be started, for want of a database, say.
    """
    # Programs that only publish need neither models nor a database, and may import this before Django is set up.
    from metrics_stream.runs import RunBlock

    own = (get_settings().source,) if sources is None else sources
    options = {"name": name, "sources": own, "target_tps": target_tps, "tags": tags, "notes": notes}
    return RunBlock(options, flush=_flush_all)


def _flush_all() -> None:
    _for_each_open(Broadcaster.flush)
