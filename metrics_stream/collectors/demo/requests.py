"""The requests of the simulated stress test by name and method, and the errors among them.

All counts add up to those of the `system` metric, and the sketches to its response times.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from metrics_stream.collectors.demo.latency import Mixture
from metrics_stream.collectors.demo.scenario import CAUSES, ENDPOINTS, OVERLOAD_FROM, Endpoint, Moment
from metrics_stream.core.metrics.sketch import EncodedSketch, Sketch

WINDOW_SECONDS = 5.0
"""Percentiles and extremes of single requests are those of this time: in one step, rare requests have too few."""

REQUEST_WINDOWS = {f"{name}_response_time_ms": WINDOW_SECONDS for name in ("min", "p50", "p95", "p99", "max")}
"""Over how many seconds the values of a row are measured, by field."""

_MAX_SAMPLES = 120
"""So many response times of each name are drawn in a step; each of them stands for several when there are more."""

_STATUSES = ((0.01, "healthy"), (0.1, "degraded"))


class DemoRequests(NamedTuple):
    """The requests after a step."""

    rows: list[dict[str, Any]]
    """The data of a `request` metric."""
    errors: list[dict[str, Any]]
    """The data of an `error` metric."""
    response_times: EncodedSketch
    """All response times of the step, in ms."""
    response_time_total_ms: float
    """Their sum since the start."""


class RequestLog:
    """Counts the requests of each name, and what failed of them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._counted = [_Counted(endpoint) for endpoint in ENDPOINTS]

    def kinds(self, moment: Moment) -> list[tuple[float, float]]:
        """Return the share of each endpoint and how slow it is, for `Mixture.spread`."""
        slow = [one.slowness * (1 + one.suffers * moment.illness) for one in ENDPOINTS]
        mean = sum(one.share * slowness for one, slowness in zip(ENDPOINTS, slow, strict=True))
        return [(one.share, slowness / mean) for one, slowness in zip(ENDPOINTS, slow, strict=True)]

    def advance(
        self, elapsed_seconds: float, seconds: float, moment: Moment, mixture: Mixture, *, requests: int, failed: int
    ) -> DemoRequests:
        """Return the rows after `seconds` in which there were so many requests, of which so many failed.

        `mixture` has the response times of all agents, before they are spread over the names.
        """
        counts = self._divide(requests, [one.share for one in ENDPOINTS], [requests] * len(ENDPOINTS))
        frailties = [one.share * one.frailty * (1 + 3 * one.suffers * moment.illness) for one in ENDPOINTS]
        failures = self._divide(
            failed,
            frailties,
            [one.requests - one.failed + count for one, count in zip(self._counted, counts, strict=True)],
        )
        overload = max(0.0, moment.load - OVERLOAD_FROM)
        causes = [one.usual + one.of_illness * moment.illness + one.of_overload * overload for one in CAUSES]
        times, everything = mixture.samples(_MAX_SAMPLES, self._chance), Sketch()
        for one, (_, slowness), count, failing in zip(self._counted, self.kinds(moment), counts, failures, strict=True):
            newest = one.add_times(elapsed_seconds, [slowness * at for at in self._draw(times, count)], count)
            everything.merge(newest)
            one.add(count, failing, self._divide(failing, causes, [failing] * len(CAUSES)))
        return DemoRequests(
            [one.row(seconds) for one in self._counted],
            [row for one in self._counted for row in one.errors()],
            everything.encode(),
            round(sum(one.total_ms for one in self._counted), 2),
        )

    def _draw(self, times: Sequence[float], count: int) -> list[float]:
        return self._chance.sample(times, min(count, len(times)))

    def _divide(self, count: int, weights: Sequence[float], rooms: Sequence[int]) -> list[int]:
        """Return whole parts of `count` in proportion to the weights, none larger than its room."""
        total = sum(weights)
        parts = [min(room, int(count * weight / total)) for weight, room in zip(weights, rooms, strict=True)]
        rest = count - sum(parts)
        # What rounding has left goes to random places, the more likely to those of a greater weight.
        order = sorted(range(len(parts)), key=lambda place: self._chance.random() ** (total / weights[place]))
        while rest:
            for place in reversed(order):
                given = min(rooms[place] - parts[place], max(1, rest // len(parts)), rest)
                parts[place] += given
                rest -= given
        return parts


class _Counted:
    """The requests of one endpoint since the start, and its response times in the newest seconds."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.requests = self.failed = 0
        self.total_ms = 0.0
        self._new = self._new_failed = 0
        self._new_ms = 0.0
        self._newest = Sketch()
        self._recent: deque[tuple[float, Sketch, list[float]]] = deque()
        self._errors = dict.fromkeys((cause.message for cause in CAUSES), 0)

    def add(self, requests: int, failed: int, causes: Sequence[int]) -> None:
        """Count the requests of a step; `causes` has those that failed by cause."""
        self._new, self._new_failed = requests, failed
        self.requests += requests
        self.failed += failed
        for message, count in zip(self._errors, causes, strict=True):
            self._errors[message] += count

    def add_times(self, elapsed_seconds: float, times: Sequence[float], requests: int) -> Sketch:
        """Count the response times of a step, which stand for so many requests, and return their sketch."""
        self._newest, self._new_ms = Sketch(), 0.0
        for place, value in enumerate(times):
            standing_for = requests // len(times) + (place < requests % len(times))
            self._newest.add(value, count=standing_for)
            self._new_ms += standing_for * value
        self.total_ms += self._new_ms
        self._recent.append((elapsed_seconds, self._newest, [min(times), max(times)] if times else []))
        while self._recent[0][0] <= elapsed_seconds - WINDOW_SECONDS:
            self._recent.popleft()
        return self._newest

    def row(self, seconds: float) -> dict[str, Any]:
        """Return the row of a step of so many seconds."""
        recent, extremes = Sketch(), [value for _, _, values in self._recent for value in values]
        for _, sketch, _ in self._recent:
            recent.merge(sketch)
        error_rate = self._new_failed / self._new if self._new else None
        return {
            "name": self._endpoint.name,
            "method": self._endpoint.method,
            "throughput_tps": round(self._new / seconds, 2) if seconds else None,
            "requests_total": self.requests,
            "requests_failed": self.failed,
            "error_rate": None if error_rate is None else round(min(1.0, error_rate), 5),
            "avg_response_time_ms": _rounded(self._new_ms / self._new if self._new else None),
            "min_response_time_ms": _rounded(min(extremes, default=None)),
            "p50_response_time_ms": _rounded(recent.quantile(0.50)),
            "p95_response_time_ms": _rounded(recent.quantile(0.95)),
            "p99_response_time_ms": _rounded(recent.quantile(0.99)),
            "max_response_time_ms": _rounded(max(extremes, default=None)),
            "response_time_total_ms": round(self.total_ms, 2),
            "received_bytes_total": self.requests * self._endpoint.bytes,
            "status": next((word for most, word in _STATUSES if (error_rate or 0.0) < most), "unhealthy"),
            "sketches": {"response_time_ms": self._newest.encode()},
        }

    def errors(self) -> list[dict[str, Any]]:
        """Return a row for each cause that there was."""
        return [
            {
                "name": self._endpoint.name,
                "method": self._endpoint.method,
                "message": message,
                "occurrences_total": count,
            }
            for message, count in self._errors.items()
            if count
        ]


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 2)
