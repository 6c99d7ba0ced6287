"""Real requests to a URL at a steady rate, as part of a `system` metric.

The schedule is open: request number n is due at n / rate, however long earlier requests take, and its latency counts
from when it was due. A slow target therefore shows as slow instead of getting fewer requests (coordinated omission).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import httpx

from metrics_stream.collectors.limits import number_between
from metrics_stream.core.errors import CollectorError
from metrics_stream.core.metrics.sketch import Sketch

logger = logging.getLogger(__name__)

Outcome = Literal["success", "failure", "timeout"]

RATE_LIMITS = (0.1, 1000.0)
"""Requests per second. Above that, one event loop in Python would measure itself instead of the target."""

TIMEOUT_LIMITS = (0.01, 60.0)

MAX_IN_FLIGHT = 256
"""Requests in flight at once; each holds a socket, and a process has about a thousand. A request that is due past this
limit is not sent and counts as a timeout."""


def percentile(ordered: list[float], percent: int) -> float:
    """Return the nearest-rank percentile of ascending values: the smallest that `percent` of them do not exceed."""
    # Computed in whole numbers, since 0.07 * 100 is more than 7.
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(1, rank) - 1]


class Tally:
    """Counts the outcomes of requests; the thread that sends them writes, and the one that publishes reads.

    A response completes a request, whatever its status, but 4xx and 5xx are failures. A timeout is a failure too.
    Latencies are those of completed requests.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = 0
        self._failed = 0
        self._in_flight = 0
        self._latencies_ms: list[float] = []
        self._spent_ms = 0.0
        self._lateness_ms: list[float] = []
        self._outcomes: dict[Outcome, int] = {"success": 0, "failure": 0, "timeout": 0}

    @property
    def in_flight(self) -> int:
        """Return the number of requests that wait for their response."""
        return self._in_flight

    def start(self, lateness_ms: float) -> None:
        """Count a request that is sent `lateness_ms` after it was due."""
        with self._lock:
            self._in_flight += 1
            self._lateness_ms.append(lateness_ms)

    def finish(self, outcome: Outcome, latency_ms: float | None) -> None:
        """Count the end of a request that was started; `latency_ms` is None without a response."""
        with self._lock:
            self._in_flight -= 1
            if latency_ms is not None:
                self._latencies_ms.append(latency_ms)
                self._spent_ms += latency_ms
        self.count(outcome)

    def abandon(self) -> None:
        """Forget a request that was started and is cancelled."""
        with self._lock:
            self._in_flight -= 1

    def count(self, outcome: Outcome) -> None:
        """Count an outcome; called directly for a request that could not be started."""
        with self._lock:
            self._total += 1
            self._failed += outcome != "success"
            self._outcomes[outcome] += 1

    def take(self, seconds: float) -> dict[str, Any]:
        """Return the `system` fields of the `seconds` since the previous call, and start the next interval.

        Counters run from the start. Error rates are omitted when no request ended in the interval, and response times
        when no response came: unknown is not zero. The sketch of the response times is always there, so that a run has
        the percentiles of all of them.
        """
        with self._lock:
            latencies, self._latencies_ms = sorted(self._latencies_ms), []
            lateness, self._lateness_ms = self._lateness_ms, []
            outcomes, self._outcomes = self._outcomes, {"success": 0, "failure": 0, "timeout": 0}
            metric: dict[str, Any] = {
                "requests_total": self._total,
                "requests_successful": self._total - self._failed,
                "requests_failed": self._failed,
                "response_time_total_ms": round(self._spent_ms, 3),
                "queue_depth": self._in_flight,
            }
        sketch = Sketch()
        for latency in latencies:
            sketch.add(latency)
        metric["sketches"] = {"response_time_ms": sketch.encode()}
        ended = sum(outcomes.values())
        if seconds > 0:
            metric["throughput_tps"] = round(len(latencies) / seconds, 3)
        if lateness:
            metric["queue_latency_ms"] = round(sum(lateness) / len(lateness), 3)
        if ended:
            metric["error_rate"] = round((ended - outcomes["success"]) / ended, 5)
            metric["timeout_rate"] = round(outcomes["timeout"] / ended, 5)
        if latencies:
            metric |= {
                "avg_response_time_ms": round(sum(latencies) / len(latencies), 3),
                "p50_response_time_ms": round(percentile(latencies, 50), 3),
                "p95_response_time_ms": round(percentile(latencies, 95), 3),
                "p99_response_time_ms": round(percentile(latencies, 99), 3),
                "max_response_time_ms": round(latencies[-1], 3),
            }
        return metric


class Probe:
    """Sends requests from its own thread between `start` and `close`; `sample` returns the results.

    A target that is down, refuses, hangs or sends invalid answers is counted and never ends the probe; `last_error` has
    the reason of the latest failure until a request succeeds. Redirects are not followed: they are an answer. Proxies
    of the environment are not used, because the target is to be measured.
    """

    def __init__(
        self,
        url: str,
        rate: Any,
        *,
        timeout_seconds: Any = 5.0,
        max_in_flight: int = MAX_IN_FLIGHT,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = parse_url(url)
        self.rate = number_between("the probe's rate", rate, *RATE_LIMITS)
        self.timeout_seconds = number_between("the probe's timeout", timeout_seconds, *TIMEOUT_LIMITS)
        self.max_in_flight = max_in_flight
        self.tally = tally or Tally()
        self.last_error: str | None = None
        self._clock = clock
        self._sampled_at = clock()
        self._not_sent = 0
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Probe:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start sending."""
        self._thread.start()
        self._ready.wait()
        self._sampled_at = self._clock()

    def close(self, timeout: float = 5.0) -> None:
        """Stop sending and cancel what is in flight; a second call does nothing."""
        if self._thread.is_alive() and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stopping.set)
            except RuntimeError:  # The event loop has just ended.
                logger.debug("the probe has already ended")
            self._thread.join(timeout)

    def sample(self) -> dict[str, Any]:
        """Return the `system` fields of the time since the previous call (or since `start`)."""
        now = self._clock()
        seconds, self._sampled_at = now - self._sampled_at, now
        return {**self.tally.take(seconds), "dropped_iterations": self._not_sent}

    def _run(self) -> None:
        try:
            asyncio.run(self._send_until_stopped())
        except Exception as error:
            # The thread ends here, so `last_error` must say that nothing more is sent.
            self.last_error = f"the probe has ended: {_describe_error(error)}"
            logger.exception("the probe of %s has ended", self.url.host)
        finally:
            self._ready.set()

    async def _send_until_stopped(self) -> None:
        self._loop = asyncio.get_running_loop()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self.max_in_flight)
        requests: set[asyncio.Task[None]] = set()
        async with httpx.AsyncClient(
            # `_request` has a deadline for the whole request; httpx only has timeouts of single operations.
            timeout=None,  # noqa: S113
            limits=limits,
            trust_env=False,
            verify=httpx.create_ssl_context(),
            headers={"user-agent": "metrics-stream-probe", "cache-control": "no-cache"},
        ) as client:
            # After the client is made: the first use of TLS takes tens of milliseconds that the target must not pay.
            started_at = self._loop.time()
            self._ready.set()
            number = 0
            while not self._stopping.is_set():
                due_at = started_at + number / self.rate
                ahead = due_at - self._loop.time()
                if ahead > 0:
                    await self._wait_for_stop(ahead)
                    continue
                # A late probe must not send a burst: requests that have ended are counted first.
                await asyncio.sleep(0)
                number += 1
                if reason := self._find_reason_not_to_send(-ahead):
                    self.last_error = reason
                    self.tally.count("timeout")
                    self._not_sent += 1
                    continue
                self.tally.start(max(0.0, -ahead) * 1000)
                task = asyncio.create_task(self._request(client, due_at))
                requests.add(task)
                task.add_done_callback(requests.discard)
            for task in requests:
                task.cancel()
            await asyncio.gather(*requests, return_exceptions=True)

    def _find_reason_not_to_send(self, late_seconds: float) -> str | None:
        if self.tally.in_flight >= self.max_in_flight:
            return f"{self.tally.in_flight} requests are in flight; no more are sent"
        if late_seconds >= self.timeout_seconds:
            return f"this machine is too busy to probe: {late_seconds:.1f} s late"
        return None

    async def _wait_for_stop(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _request(self, client: httpx.AsyncClient, due_at: float) -> None:
        outcome: Outcome = "failure"
        latency_ms: float | None = None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(due_at + self.timeout_seconds), client.stream("GET", self.url) as response:
                # The body is part of the answer, and only after reading it can the connection be used again.
                async for _ in response.aiter_raw():
                    pass
            latency_ms = (loop.time() - due_at) * 1000
            if response.status_code < 400:
                outcome = "success"
                self.last_error = None
            else:
                self.last_error = f"the target answers {response.status_code}"
        except TimeoutError:
            outcome = "timeout"
            self.last_error = f"no answer within {self.timeout_seconds:g} s"
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            self.last_error = _describe_error(error)
        except Exception as error:
            # An error of a parser about a strange answer is a failure of that request, not of the probe.
            self.last_error = _describe_error(error)
            logger.exception("a request of the probe failed in an unexpected way")
        except asyncio.CancelledError:
            self.tally.abandon()
            raise
        self.tally.finish(outcome, latency_ms)


def parse_url(url: str) -> httpx.URL:
    """Return `url` as a URL that can be probed, or raise CollectorError naming it."""
    allowed = "allowed: an http:// or https:// URL with a host"
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise CollectorError(f"the probe's URL is {url!r} ({error}); {allowed}") from error
    port_exists = parsed.port is None or 0 < parsed.port < 65_536
    if parsed.scheme not in {"http", "https"} or not parsed.host or not port_exists:
        raise CollectorError(f"the probe's URL is {url!r}; {allowed}")
    return parsed


def _describe_error(error: Exception) -> str:
    """Return an error as one line; many errors of httpx have no text."""
    return " ".join(str(error).split()) or type(error).__name__
