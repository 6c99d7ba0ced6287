"""`Broadcaster`, with which threads and synchronous code publish, and the block that is a test run.

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
from typing import Any, NamedTuple, Self, Unpack
from weakref import WeakSet

from metrics_stream import native_threads
from metrics_stream.broadcast.arguments import names_data, read_item, takes_item
from metrics_stream.broadcast.generator import GeneratorWatch
from metrics_stream.broadcast.opening import open_transport
from metrics_stream.broadcast.row_overflows import log_overflows
from metrics_stream.broadcast.run_block import RunBlock, RunOptions, RunValues, run_options
from metrics_stream.broadcast.transport import Batch, MetricInput, Timestamp, Transport
from metrics_stream.core.errors import BroadcastError, NativeThreadError, RejectedError, RetryLaterError
from metrics_stream.core.metrics.annotations import Beside
from metrics_stream.core.metrics.budget import RowBudget
from metrics_stream.core.metrics.catalogue import SYSTEM
from metrics_stream.core.metrics.encoding import as_plain
from metrics_stream.core.metrics.items import slug_of
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.native_threads import NativeThread

logger = logging.getLogger(__name__)

# At most this many metrics leave the queue together; they are lost when the program is killed before they are sent.
MAX_TAKEN = 500
# The first wait before a batch is sent again, and the longest.
RESEND_SECONDS = (0.1, 2.0)
EXIT_FLUSH_SECONDS = 2.0


class Outage(NamedTuple):
    """A time in which nothing can be sent."""

    began_at: float
    dropped_before: int


class Broadcaster:
    """Publishes from its own thread: every call returns immediately and never blocks the stress test.

    It publishes over the channel layer or, with `url` and `token`, over HTTP without any Django settings. Metrics wait
    in a queue of `max_queued`; when it is full, the oldest are dropped and counted. What could not be sent is sent
    again. It is safe to use from several threads, in a program that gevent has patched (only the greenlet that flushes
    or closes waits), and after a fork (the child starts empty).
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        max_queued: int = 10_000,
        url: str | None = None,
        token: str | None = None,
        insecure: bool = False,
        is_generator: bool = False,
    ) -> None:
        """Raise BroadcastError when nothing published from this process could reach a client.

        `insecure` allows http:// to other machines, where everyone on the network path can read the token. With
        `is_generator` this process makes the load of the test: its `system` metrics also say how busy and late it is,
        which makes its own figures doubtful when it is too much.
        """
        if max_queued < 1:
            raise ValueError(f"max_queued is {max_queued}; it must be at least 1")
        self._transport = open_transport(url, token, insecure=insecure)
        self._transport.check_reach()
        try:
            native_threads.prepare()
        except NativeThreadError as error:
            raise BroadcastError(str(error)) from error
        self._source = source
        self._max_queued = max_queued
        self._closed = False
        self._is_generator = is_generator
        self._reset()
        _open.add(self)

    def _reset(self) -> None:
        self.published = 0
        self.dropped = 0
        self._dropped_at_flush = 0
        self.last_error: str | None = None
        """Why nothing can be sent at the moment, or None."""
        self._queue: deque[Metric] = deque()
        self._in_flight = 0
        self._outage: Outage | None = None
        self._is_rejected = False
        self._faults: set[str] = set()
        self._watch = GeneratorWatch() if self._is_generator else None
        self._rows = RowBudget(time.monotonic)
        self._lock = native_threads.new_lock()
        self._wakeup = native_threads.Signal()
        self._thread: NativeThread | None = None

    @property
    def queued(self) -> int:
        """Count the metrics that are not sent yet."""
        with self._lock:
            return len(self._queue) + self._in_flight

    # --- publishing ---

    @names_data()
    @takes_item
    def broadcast(self, metric_type: str, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue one metric; raise MetricError for a value that cannot be a metric.

        `metric_type` may also be the whole metric as a dict, as an item of `broadcast_many`. `beside` can be `source`,
        and what is stated about fields: `units` and `windows` (seconds), by field.
        """
        if beside.get("source") is None:
            beside["source"] = self._source
        data = self._with_health(metric_type, data)
        self._enqueue(self._transport.make_metrics(metric_type, data, timestamp, **beside))

    def broadcast_many(self, items: Iterable[MetricInput]) -> None:
        """Queue several metrics in order; none is queued when one of them cannot be a metric."""
        defaults: dict[str, Any] = {"source": self._source, "timestamp": None}
        full = [{**defaults, **read_item(item)} for item in items]
        whole = [{**item, "data": self._with_health(item["metric_type"], item["data"])} for item in full]
        self._enqueue([metric for item in whole for metric in self._transport.make_metrics(**item)])

    def _with_health(self, metric_type: Any, data: Any) -> Any:
        """Return the data of a `system` metric with what was measured of this process, if it makes the load."""
        if self._watch is None or slug_of(metric_type) != SYSTEM.slug:
            return data
        measured = self._watch.take()
        if not measured:
            return data
        data = as_plain(data)
        if not isinstance(data, dict):
            return data
        health = {"generator_queue_depth": self.queued, "generator_dropped_metrics": self.dropped}
        return {**measured, **health, **data}

    @names_data("system_metrics")
    def broadcast_system_metrics(self, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue system metrics: throughput, latency, errors, resources."""
        self.broadcast("system", data, timestamp, **beside)

    @names_data("agent_metrics", "agent_metrics_list")
    def broadcast_agent_metrics(self, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue the metrics of agents: a list of objects with `agent_id`, or one of them."""
        self.broadcast("agent", data, timestamp, **beside)

    @names_data("request_metrics")
    def broadcast_request_metrics(self, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue the metrics of requests: a list of rows with `name` and `method`, or one of them."""
        self.broadcast("request", data, timestamp, **beside)

    @names_data("error_metrics")
    def broadcast_error_metrics(self, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue the errors of requests: a list of rows with `name`, `method` and `message`, or one of them."""
        self.broadcast("error", data, timestamp, **beside)

    @names_data("business_metrics")
    def broadcast_business_metrics(self, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue business metrics: fraud, cost, return on investment."""
        self.broadcast("business", data, timestamp, **beside)

    @names_data("hero_metrics")
    def broadcast_hero_metrics(self, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue the headline numbers of a presentation."""
        self.broadcast("hero", data, timestamp, **beside)

    @names_data("presentation_data")
    def broadcast_presentation_data(self, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
        """Queue everything that a presentation shows."""
        self.broadcast("presentation", data, timestamp, **beside)

    # --- test runs ---

    def stress_test_run(
        self, name: str, *, sources: Iterable[str] | None = None, **values: Unpack[RunValues]
    ) -> RunBlock:
        """Return a block that is a test run, stored where the metrics go; see the function `stress_test_run`.

        By default the metrics of this Broadcaster's source belong to it.
        """
        own = (self._source or self._transport.source,) if sources is None else sources
        return make_block(self._transport, run_options(name, own, values), self._source)

    # --- the queue ---

    def _enqueue(self, made: list[Metric]) -> None:
        with self._lock:
            metrics, overflows = self._rows.apply(made)
        log_overflows(overflows)
        with self._lock:
            if self._closed:
                raise BroadcastError("this Broadcaster is closed; make a new one")
            if self._is_rejected:
                self.dropped += len(metrics)
                return
            self._ensure_thread()
            was_empty = not self._queue
            self._queue.extend(metrics)
            while self._queue and self.queued > self._max_queued:
                self._queue.popleft()
                self.dropped += 1
        if was_empty:
            self._wakeup.set()

    def _ensure_thread(self) -> None:
        try:
            if self._thread is None:
                self._thread = NativeThread(self._run, "metrics-broadcaster")
            self._thread.check()
        except NativeThreadError as error:
            raise BroadcastError(str(error)) from error

    # --- flushing and closing ---

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything queued is sent.

        Return False when that took longer than `timeout` seconds, or when a metric was refused or dropped since the
        last flush.
        """
        is_sent = self._wait_until_sent(timeout)
        with self._lock:
            dropped_before, self._dropped_at_flush = self._dropped_at_flush, self.dropped
            return is_sent and self._dropped_at_flush == dropped_before and not self._is_rejected

    def _wait_until_sent(self, timeout: float = 5.0) -> bool:
        return native_threads.wait_until(lambda: self.queued == 0, timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Flush, then end the thread; return False as `flush` does."""
        is_flushed = self.flush(timeout)
        with self._lock:
            self._closed = True
            dropped_before = self.dropped
            self.dropped += len(self._queue)
            self._queue.clear()
            thread = self._thread
        if self._watch is not None:
            self._watch.stop()
        self._wakeup.set()
        if thread is not None:
            native_threads.wait_until(lambda: thread.ended, timeout)
        _open.discard(self)
        # What is still in flight may arrive, but no answer will tell.
        lost = self.dropped - dropped_before + self.queued
        self._dropped_at_flush = self.dropped
        if lost:
            logger.warning("%d metrics were not published: %s", lost, self.last_error or "no time was left")
        return is_flushed and lost == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the thread ---

    def _run(self, thread: NativeThread, loop: asyncio.AbstractEventLoop) -> None:
        sender = self._transport.open_sender()
        try:
            while self._wait_for_metrics():
                with self._lock:
                    taken = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_TAKEN))]
                    self._in_flight = len(taken)
                for batch in sender.pack(taken):
                    published = self._send(batch, thread, loop)
                    with self._lock:
                        self._in_flight -= batch.count
                        self.published += published
                        self.dropped += batch.count - published
        except RejectedError as error:
            self._stop_publishing(error, thread)
        finally:
            loop.run_until_complete(sender.close())

    def _wait_for_metrics(self) -> bool:
        while not self._queue and not self._closed:
            self._wakeup.wait()
        self._wait_for_close(self._transport.linger_seconds)
        return bool(self._queue)

    def _wait_for_close(self, seconds: float) -> bool:
        """Return True as soon as this is closed, False after `seconds`."""
        deadline = time.monotonic() + seconds
        while not self._closed and (left := deadline - time.monotonic()) > 0:
            self._wakeup.wait(left)
        return self._closed

    def _send(self, batch: Batch, thread: NativeThread, loop: asyncio.AbstractEventLoop) -> int:
        """Send a batch until it is accepted; return how many of its metrics were, 0 when none ever will be.

        Raises RejectedError when the server will accept nothing more.
        """
        wait = RESEND_SECONDS[0]
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
                # Sending it again would not help; the thread continues with the next batch.
                self.last_error = f"{type(error).__name__}: {error}"
                message = "%d metrics could not be published and are dropped"
                thread.log(logger, logging.ERROR, message, batch.count, exc_info=error)
                return 0
            else:
                self.last_error = None
                self._end_outage(thread)
                for kind in outcome.faults.keys() - self._faults:
                    self._faults.add(kind)
                    thread.log(logger, logging.ERROR, "%s (logged once for each kind)", outcome.faults[kind])
                return batch.count - outcome.refused
            # Metrics in flight count against the bound of the queue: a long outage drops the oldest, and memory stays.
            if self._wait_for_close(max(wait, least)):
                return 0
            wait = min(wait * 2, RESEND_SECONDS[1])

    def _stop_publishing(self, error: RejectedError, thread: NativeThread) -> None:
        """Drop everything from now on, so that the stress test can continue."""
        with self._lock:
            self.last_error = str(error)
            self._is_rejected = True
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


_open: WeakSet[Broadcaster] = WeakSet()


def _for_each_open(action: Callable[[Broadcaster], object]) -> None:
    for broadcaster in list(_open):
        action(broadcaster)


# A forked child has no thread, and the metrics are its parent's: it starts empty, with its own lock.
os.register_at_fork(after_in_child=lambda: _for_each_open(Broadcaster._reset))
atexit.register(_for_each_open, lambda broadcaster: broadcaster.close(EXIT_FLUSH_SECONDS))


def make_block(transport: Transport, options: RunOptions, source: str | None) -> RunBlock:
    """Return the block of a test run, which waits for the metrics of all Broadcasters before it ends."""

    def make_metric(item: Any) -> Metric:
        defaults: dict[str, Any] = {"source": source, "timestamp": None}
        return transport.make_metric(**{**defaults, **read_item(item)})

    return RunBlock(
        transport.run_store(options),
        flush=lambda: _for_each_open(Broadcaster._wait_until_sent),
        make_metric=make_metric,
        is_past=options["ended_at"] is not None,
    )
