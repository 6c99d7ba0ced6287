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
from types import TracebackType
from typing import Any, NamedTuple, NotRequired, Self, TypedDict
from weakref import WeakSet

from metrics_stream import native_threads
from metrics_stream.broadcast.run_block import RunBlock, RunOptions
from metrics_stream.broadcast.transport import Batch, Timestamp, Transport
from metrics_stream.core.errors import BroadcastError, NativeThreadError, RejectedError, RetryLaterError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.native_threads import NativeThread

# What needs Django is imported when it is used: programs that publish over HTTP need not have it.

logger = logging.getLogger(__name__)

# So many leave the queue at once, and may be lost when the program is killed.
MAX_TAKEN = 500
RETRY_SECONDS = (0.1, 2.0)
EXIT_FLUSH_SECONDS = 2.0


class MetricInput(TypedDict):
    """One metric as `broadcast_many` takes it."""

    metric_type: str
    data: Any
    timestamp: NotRequired[Timestamp]
    source: NotRequired[str | None]


def make_metric(metric_type: str, data: Any, timestamp: Timestamp = None, source: str | None = None) -> Metric:
    """Return the metric that `data` is, encoded; raise MetricError naming what is wrong and what is allowed."""
    from metrics_stream.broadcast import layer as layer_transport

    return layer_transport.make_metric(metric_type, data, timestamp, source)


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
    from metrics_stream.broadcast import layer as layer_transport

    await layer_transport.publish(metrics)


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
    """A time in which nothing is taken."""

    began_at: float
    dropped_before: int


class Broadcaster:
    """Publishes from a thread of its own: every call returns at once and never blocks the stress test.

    Over the channel layer, or with `url` and `token` over HTTP, for which nothing has to be set up. Metrics wait in a
    queue of `max_queued`; past it the oldest are dropped and counted. What is not taken is tried again. Safe to use
    from several threads, in a program that gevent has patched, where only the greenlet that flushes or closes waits,
    and after a fork, where the child starts empty.
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        max_queued: int = 10_000,
        url: str | None = None,
        token: str | None = None,
        insecure: bool = False,
    ) -> None:
        """Raise BroadcastError when nothing published from this process could reach a client.

        `insecure` allows an address with http:// that is not this machine: whoever is on the way can read the token.
        """
        if max_queued < 1:
            raise ValueError(f"max_queued is {max_queued}; it must be at least 1")
        self._transport = _transport(url, token, insecure=insecure)
        self._transport.check_reach()
        try:
            native_threads.prepare()
        except NativeThreadError as error:
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
        self._is_refused = False
        self._faults: set[str] = set()
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
        source = self._source if source is None else source
        self._enqueue([self._transport.make_metric(metric_type, data, timestamp, source)])

    def broadcast_many(self, items: Iterable[MetricInput]) -> None:
        """Queue several metrics in order; none is queued when one of them cannot be a metric."""
        defaults: dict[str, Any] = {"source": self._source, "timestamp": None}
        self._enqueue([self._transport.make_metric(**{**defaults, **item}) for item in items])

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

    # --- test runs ---

    def stress_test_run(
        self,
        name: str,
        *,
        sources: Iterable[str] | None = None,
        target_tps: float | None = None,
        tags: Iterable[str] = (),
        notes: str = "",
    ) -> RunBlock:
        """Return a block that is a test run, kept where the metrics go; by default those of this Broadcaster's source.

        It is as that of the function `stress_test_run`.
        """
        own = (self._source or self._transport.source,) if sources is None else sources
        options: RunOptions = {"name": name, "sources": own, "target_tps": target_tps, "tags": tags, "notes": notes}
        return _block(self._transport, options)

    # --- the queue ---

    def _enqueue(self, metrics: list[Metric]) -> None:
        with self._lock:
            if self._closed:
                raise BroadcastError("this Broadcaster is closed; make a new one")
            if self._is_refused:
                self.dropped += len(metrics)
                return
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
        return native_threads.wait_until(lambda: self.queued == 0, timeout) and not self._is_refused

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
        sender = self._transport.begin()
        try:
            while self._wait_for_metrics():
                with self._lock:
                    taken = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_TAKEN))]
                    self._in_flight = len(taken)
                for batch in sender.pack(taken):
                    published = self._publish(batch, thread, loop)
                    with self._lock:
                        self._in_flight -= batch.count
                        self.published += published
                        self.dropped += batch.count - published
        except RejectedError as error:
            self._give_up(error, thread)
        finally:
            loop.run_until_complete(sender.close())

    def _wait_for_metrics(self) -> bool:
        while not self._queue and not self._closed:
            self._news.wait()
        self._closes_within(self._transport.linger_seconds)
        return bool(self._queue)

    def _closes_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._closed and (left := deadline - time.monotonic()) > 0:
            self._news.wait(left)
        return self._closed

    def _publish(self, batch: Batch, thread: NativeThread, loop: asyncio.AbstractEventLoop) -> int:
        """Try until it is taken, and return how many of its metrics are; 0 when it never will. Raises NeverTaken."""
        wait = RETRY_SECONDS[0]
        while True:
            try:
                outcome = loop.run_until_complete(batch.send())
            except RejectedError:
                raise
            except BroadcastError as error:
                self.last_error = str(error)
                if self._outage is None:
                    self._outage = Outage(time.monotonic(), self.dropped)
                    thread.log(logger, logging.WARNING, "metrics wait to be published: %s", error)
                least = error.after_seconds if isinstance(error, RetryLaterError) else 0.0
            except Exception as error:
                # Nothing that trying again would mend; the thread goes on with what comes next.
                self.last_error = f"{type(error).__name__}: {error}"
                message = "%d metrics could not be published and are dropped"
                thread.log(logger, logging.ERROR, message, batch.count, exc_info=error)
                return 0
            else:
                self.last_error = None
                self._end_outage(thread)
                for kind in outcome.faults.keys() - self._faults:
                    self._faults.add(kind)
                    thread.log(logger, logging.ERROR, "%s (said once for each kind)", outcome.faults[kind])
                return batch.count - outcome.refused
            # In the queue they count against its bound: a long outage costs the oldest, never memory.
            if self._closes_within(max(wait, least)):
                return 0
            wait = min(wait * 2, RETRY_SECONDS[1])

    def _give_up(self, error: RejectedError, thread: NativeThread) -> None:
        """Publish nothing any more, and let the stress test go on."""
        with self._lock:
            self.last_error = str(error)
            self._is_refused = True
            self.dropped += len(self._queue) + self._in_flight
            self._queue.clear()
            self._in_flight = 0
        message = "publishing has ended for good, and every metric is dropped from now on: %s"
        thread.log(logger, logging.ERROR, message, error)

    def _end_outage(self, thread: NativeThread) -> None:
        if self._outage is None:
            return
        seconds, dropped = time.monotonic() - self._outage.began_at, self.dropped - self._outage.dropped_before
        self._outage = None
        message = "metrics are published again after %.1f s: %d waited, %d were dropped meanwhile"
        thread.log(logger, logging.WARNING, message, seconds, self.queued, dropped)


def _transport(url: str | None, token: str | None, *, insecure: bool) -> Transport:
    if url is None and token is None:
        from metrics_stream.broadcast.layer import LayerTransport

        return LayerTransport()
    if url is None or token is None:
        raise ValueError("url and token belong together: the address of the server, and a token made there")
    from metrics_stream.broadcast.http import HttpTransport

    return HttpTransport(url, token, insecure=insecure)


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
    url: str | None = None,
    token: str | None = None,
    insecure: bool = False,
) -> RunBlock:
    """Return a block, for `with` and `async with`, that is a test run; it gives the run, which has a `slug`.

    It is kept in the server's database, or with `url` and `token` started over HTTP. `sources` are those whose metrics
    belong to it: None is what this program publishes as, the setting SOURCE or over HTTP the host name, and an empty
    one every source of which the token may start runs. The run ends as the block does: `completed`, `failed` with the
    exception in its notes, or `cancelled`. Raises RunError when it cannot be started, for want of a database, say.
    """
    transport = _transport(url, token, insecure=insecure)
    own = (transport.source,) if sources is None else sources
    return _block(transport, {"name": name, "sources": own, "target_tps": target_tps, "tags": tags, "notes": notes})


def _block(transport: Transport, options: RunOptions) -> RunBlock:
    return RunBlock(transport.run_store(options), flush=_flush_all)


def _flush_all() -> None:
    _for_each_open(Broadcaster.flush)
