"""Turn Locust's numbers into fields of metrics_stream (docs/metrics.md); needs neither Locust nor Django."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from metrics_stream.broadcast import Sketch, key_part

# "Current" on Locust's page means ten seconds, without the newest two, which workers may not have reported yet.
WINDOW_SECONDS = 10
LAG_SECONDS = 2


class Entry(Protocol):
    """What Locust counts of requests since the test began, all of them or those of one name and method."""

    num_requests: int
    num_failures: int
    num_reqs_per_sec: Mapping[int, int]
    num_fail_per_sec: Mapping[int, int]
    avg_response_time: float
    min_response_time: float | None
    max_response_time: float
    total_response_time: float
    response_times: Mapping[int, int]
    """The number of requests by response time in milliseconds, which Locust rounds to two digits."""
    total_content_length: int


class Totals(Entry, Protocol):
    """Locust's `environment.stats.total`, the totals of the whole test; instants are in seconds since 1970."""

    start_time: float
    last_request_timestamp: float | None


SYSTEM_WINDOWS = dict.fromkeys(
    ("throughput_tps", "error_rate", "p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms"),
    WINDOW_SECONDS,
)
"""Over how many seconds the values of a `system` metric and of a row of requests are measured, by field."""

AGENT_WINDOWS = {
    "success_rate": WINDOW_SECONDS,
    **dict.fromkeys(("avg_response_time_ms", "p95_response_time_ms", "p99_response_time_ms"), 1),
}


class EntryMeter:
    """Measure one of Locust's entries; take once a second."""

    def __init__(self) -> None:
        self._response_times: dict[int, int] = {}
        self._recent: deque[Sketch] = deque(maxlen=WINDOW_SECONDS)

    def take(self, entry: Entry, seconds: range) -> dict[str, Any]:
        """Return Locust's numbers, the rates of some seconds, and a sketch of the response times since the last take.

        The percentiles are those of the newest sketches together, so that they are the same live and in a recording.
        """
        done = sum(entry.num_reqs_per_sec.get(second, 0) for second in seconds)
        failed = sum(entry.num_fail_per_sec.get(second, 0) for second in seconds)
        newest = self._sketch(entry)
        self._recent.append(newest)
        current = Sketch()
        for sketch in self._recent:
            current.merge(sketch)
        return {
            "throughput_tps": done / len(seconds) if seconds else None,
            "requests_total": entry.num_requests,
            "requests_failed": entry.num_failures,
            "error_rate": share(failed, done),
            "avg_response_time_ms": entry.avg_response_time if entry.num_requests else None,
            "min_response_time_ms": entry.min_response_time,
            "p50_response_time_ms": current.quantile(0.50),
            "p95_response_time_ms": current.quantile(0.95),
            "p99_response_time_ms": current.quantile(0.99),
            "max_response_time_ms": entry.max_response_time if entry.num_requests else None,
            "response_time_total_ms": entry.total_response_time,
            "received_bytes_total": entry.total_content_length,
            "sketches": {"response_time_ms": newest.encode()},
        }

    def _sketch(self, entry: Entry) -> Sketch:
        before, self._response_times = self._response_times, dict(entry.response_times)
        if any(self._response_times.get(response_time_ms, 0) < count for response_time_ms, count in before.items()):
            before = {}  # with --reset-stats Locust counts from zero when all users are spawned
        sketch = Sketch()
        for response_time_ms, count in self._response_times.items():
            if new := count - before.get(response_time_ms, 0):
                sketch.add(response_time_ms, count=new)
        return sketch


class SystemMeter:
    """Make `system` metrics from Locust's totals of the whole test; take one a second."""

    def __init__(self, *, report_seconds: float = 0.0) -> None:
        """`report_seconds` is how long it may take until workers report their counts."""
        self._report_seconds = report_seconds
        self._meter = EntryMeter()

    def seconds(self, total: Totals, now: float) -> range:
        """Return the current seconds."""
        return current_seconds(total, now - self._report_seconds)

    def take(self, total: Totals, *, users: int, now: float) -> dict[str, Any]:
        """Return the data of a metric."""
        return {
            **self._meter.take(total, self.seconds(total, now)),
            "requests_successful": total.num_requests - total.num_failures,
            # Locust divides by this time for the rate of the whole test.
            "elapsed_seconds": max(0.0, (total.last_request_timestamp or total.start_time) - total.start_time),
            "users": users,
        }


class RequestMeter:
    """Make `request` metrics from Locust's entries, one for each name and method; take one a second."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], EntryMeter] = {}

    def take(self, entries: Mapping[tuple[str, str], Entry], seconds: range) -> list[dict[str, Any]]:
        """Return the data of a metric; `seconds` are the current ones."""
        rows = []
        # Copied: other greenlets add names.
        for (name, method), entry in list(entries.items()):
            meter = self._meters.setdefault((name, method), EntryMeter())
            rows.append({"name": key_part(name), "method": key_part(method), **meter.take(entry, seconds)})
        return rows


def error_rows(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the data of an `error` metric of Locust's errors, as their `to_dict` gives them."""
    return [
        {
            "name": key_part(error["name"]),
            "method": key_part(error["method"]),
            "message": key_part(error["error"]),
            "occurrences_total": error["occurrences"],
            "last_at": seen and datetime.fromtimestamp(seen, UTC).isoformat(),
        }
        for error in errors
        for seen in [error.get("last_seen")]
    ]


def current_seconds(total: Totals, known_until: float) -> range:
    """Return the current seconds: up to the newest answer, as on Locust's page, or `known_until` if later.

    While the target does not answer, Locust's page does not change.
    """
    end = int(max(total.last_request_timestamp or 0.0, known_until)) - LAG_SECONDS
    return range(max(end - WINDOW_SECONDS, int(total.start_time)), end)


class AgentMeter:
    """Count the requests of one user class and make an entry of an `agent` metric for each interval."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._requests_processed = 0
        self._error_count = 0
        self._timeout_count = 0
        self._response_times_ms: list[float] = []
        self._errors = 0
        # Requests and errors of the newest intervals; with rare requests some intervals have none.
        self._recent: deque[tuple[int, int]] = deque(maxlen=WINDOW_SECONDS)
        self._status = "healthy"

    def count(self, response_time_ms: float, error: BaseException | None) -> None:
        """Count one request."""
        self._requests_processed += 1
        self._response_times_ms.append(response_time_ms)
        if error is not None:
            self._error_count += 1
            self._errors += 1
            # requests, urllib3 and gevent each have their own classes, all with "timeout" in the name.
            self._timeout_count += "timeout" in type(error).__name__.lower()

    def take(self, *, users: int) -> dict[str, Any]:
        """Return an entry of an `agent` metric and start the next interval."""
        times = sorted(self._response_times_ms)
        self._recent.append((len(times), self._errors))
        self._response_times_ms, self._errors = [], 0
        error_rate = share(sum(errors for _, errors in self._recent), sum(requests for requests, _ in self._recent))
        if error_rate is not None:
            self._status = "healthy" if error_rate < 0.01 else "degraded" if error_rate < 0.1 else "unhealthy"
        sketch = Sketch()
        for response_time_ms in times:
            sketch.add(response_time_ms)
        return {
            "agent_id": self._agent_id,
            "agent_name": self._agent_id,
            "requests_processed": self._requests_processed,
            "avg_response_time_ms": sum(times) / len(times) if times else None,
            "p95_response_time_ms": percentile(times, 0.95),
            "p99_response_time_ms": percentile(times, 0.99),
            "sketches": {"response_time_ms": sketch.encode()},
            "success_rate": None if error_rate is None else 1 - error_rate,
            "error_count": self._error_count,
            "timeout_count": self._timeout_count,
            "status": self._status,
            "users": users,
        }


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """Return the value that this part of the values is below, by Locust's rank; None without values."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def share(part: float, whole: float) -> float | None:
    """Return a ratio from 0 to 1; None when `whole` is 0."""
    return min(part / whole, 1.0) if whole else None
