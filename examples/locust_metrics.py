"""From Locust's numbers to the fields of metrics_stream (docs/metrics.md); needs neither Locust nor Django."""

from collections.abc import Sequence
from typing import Any, Protocol


class Totals(Protocol):
    """What `environment.stats.total` of Locust has: of the whole test, and ("current") of its last ten seconds."""

    num_requests: int
    num_failures: int
    max_response_time: float
    avg_response_time: float
    current_rps: float
    current_fail_per_sec: float

    def get_current_response_time_percentile(self, percent: float) -> float | None:
        """Return the response time in ms that this share of the requests kept, None without requests."""


def system_metrics(total: Totals, *, users: int) -> dict[str, Any]:
    """Return the data of a `system` metric: the same numbers that Locust shows."""
    return {
        "throughput_tps": total.current_rps,
        "requests_total": total.num_requests,
        "requests_successful": total.num_requests - total.num_failures,
        "requests_failed": total.num_failures,
        "avg_response_time_ms": total.avg_response_time,
        "p50_response_time_ms": total.get_current_response_time_percentile(0.5),
        "p95_response_time_ms": total.get_current_response_time_percentile(0.95),
        "p99_response_time_ms": total.get_current_response_time_percentile(0.99),
        "max_response_time_ms": total.max_response_time,
        "error_rate": share(total.current_fail_per_sec, total.current_rps),
        "users": users,
    }


class AgentMeter:
    """Counts the requests of one user class and makes an `agent` metric of those since the last one."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._requests_processed = 0
        self._error_count = 0
        self._timeout_count = 0
        self._response_times_ms: list[float] = []
        self._recent_errors = 0

    def count(self, response_time_ms: float, error: BaseException | None) -> None:
        """Count one request."""
        self._requests_processed += 1
        self._response_times_ms.append(response_time_ms)
        if error is not None:
            self._error_count += 1
            self._recent_errors += 1
            # requests, urllib3 and gevent have classes of their own, all named after what happened.
            self._timeout_count += "timeout" in type(error).__name__.lower()

    def take(self, *, users: int) -> dict[str, Any]:
        """Return an entry of an `agent` metric, and begin anew with what is measured over time."""
        times, errors = sorted(self._response_times_ms), self._recent_errors
        self._response_times_ms, self._recent_errors = [], 0
        error_rate = share(errors, len(times))
        return {
            "agent_id": self._agent_id,
            "agent_name": self._agent_id,
            "requests_processed": self._requests_processed,
            "avg_response_time_ms": sum(times) / len(times) if times else None,
            "p95_response_time_ms": percentile(times, 0.95),
            "p99_response_time_ms": percentile(times, 0.99),
            "success_rate": 1 - error_rate,
            "error_count": self._error_count,
            "timeout_count": self._timeout_count,
            "status": "healthy" if error_rate < 0.01 else "degraded" if error_rate < 0.1 else "unhealthy",
            "users": users,
        }


def percentile(ordered: Sequence[float], part: float) -> float | None:
    """Return the smallest value that at least this part of them does not exceed; None when there are none."""
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)] if ordered else None


def share(part: float, whole: float) -> float:
    """Return a ratio from 0 to 1, and 0 of nothing."""
    return min(part / whole, 1.0) if whole else 0.0
