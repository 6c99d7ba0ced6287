"""The simulated agents: each a queue with a capacity, an error rate and a health that follow its load.

Part of the demo; pure. An agent serves what it can, lets the rest wait, and gives up on what waits too long.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from metrics_stream.collectors.demo.latency import Latency

ROLES = ("Fraud scorer", "Identity check", "Payment router", "Sanctions screen", "Risk review")

HEALTHY_FROM = 0.85
DEGRADED_FROM = 0.5
"""The least `health_score` with which an agent is called healthy, or degraded rather than unhealthy."""

BACKLOG_SECONDS = 0.4
"""How long a healthy agent would work on the longest backlog it keeps; what does not fit times out."""


class Wander:
    """A value that wanders around 0 with a memory (an Ornstein-Uhlenbeck process), whatever the length of the steps."""

    def __init__(self, chance: random.Random, *, spread: float, memory_seconds: float) -> None:
        self._chance = chance
        self._spread = spread
        self._memory = memory_seconds
        self.value = chance.gauss(0.0, spread)

    def advance(self, seconds: float) -> float:
        """Return the value `seconds` later; at most three spreads from 0."""
        kept = math.exp(-seconds / self._memory)
        moved = kept * self.value + self._spread * math.sqrt(1 - kept * kept) * self._chance.gauss(0.0, 1.0)
        self.value = max(-3 * self._spread, min(3 * self._spread, moved))
        return self.value


@dataclass(frozen=True, slots=True)
class AgentState:
    """One agent after a step: its published entry, and what the sums over all agents need."""

    entry: dict[str, Any]
    latency: Latency
    throughput_tps: float
    error_rate: float
    timeout_rate: float
    utilization: float
    waiting: int
    wait_ms: float
    successful: int
    failed: int
    false_positive_rate: float
    false_negative_rate: float


class DemoAgent:
    """One agent between two steps: its constants, its backlog and its counters."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.agent_id = f"agent_{number}"
        role, round_ = ROLES[(number - 1) % len(ROLES)], (number - 1) // len(ROLES)
        self.agent_name = f"{role} {round_ + 1}" if round_ else role
        self.capacity_tps = chance.uniform(170.0, 230.0)
        self._service_ms = chance.uniform(18.0, 32.0)
        self._false_positive_rate = chance.uniform(0.006, 0.011)
        self._false_negative_rate = chance.uniform(0.03, 0.06)
        self._latency_noise = Wander(chance, spread=0.05, memory_seconds=4.0)
        self._error_noise = Wander(chance, spread=0.2, memory_seconds=8.0)
        self._quality_noise = Wander(chance, spread=0.06, memory_seconds=20.0)
        self.share_noise = Wander(chance, spread=0.03, memory_seconds=6.0)
        self._backlog = 0.0
        self._successful = 0.0
        self._failed = 0.0
        self._timed_out = 0.0

    def advance(self, seconds: float, *, offered_tps: float, illness: float) -> AgentState:
        """Return the state after `seconds` in which `offered_tps` arrived; `illness` is 0 (well) to 1."""
        capacity = self.capacity_tps * (1 - 0.5 * illness)
        served_tps, overflow_tps = self._serve(seconds, offered_tps, capacity)
        throughput = served_tps + overflow_tps
        utilization = offered_tps / capacity

        # The hockey stick: waiting grows slowly up to four fifths of the capacity and steeply after.
        busy = min(utilization, 0.96)
        queueing_ms = self._service_ms * 0.4 * busy**4 / (1 - busy)
        wait_ms = queueing_ms + 1000 * self._backlog / capacity
        noise = math.exp(self._latency_noise.advance(seconds))
        latency = Latency((self._service_ms * (1 + 4 * illness) + wait_ms) * noise, 0.38 + 0.12 * busy + 0.2 * illness)

        strain = max(0.0, min(1.0, (utilization - 0.8) / 0.35))
        usual_error_rate = 0.0006 * math.exp(self._error_noise.advance(seconds))
        served_error_rate = usual_error_rate + 0.025 * strain**2 + 0.07 * illness**2
        served_timeout_rate = 0.1 * usual_error_rate + 0.25 * (served_error_rate - usual_error_rate)
        failed_tps = served_tps * served_error_rate + overflow_tps
        timeout_tps = served_tps * served_timeout_rate + overflow_tps
        error_rate = failed_tps / throughput
        timeout_rate = timeout_tps / throughput
        self._successful += (throughput - failed_tps) * seconds
        self._failed += failed_tps * seconds
        self._timed_out += timeout_tps * seconds
        # Successes and failures are made whole apart, and the total is their sum: so no counter ever falls.
        successful, failed = int(self._successful), int(self._failed)

        false_positive_rate, false_negative_rate = self._quality(seconds, illness)
        health = max(0.0, 1 - 0.56 * illness - 0.28 * strain - min(0.12, error_rate))
        entry: dict[str, Any] = {
            "agent_id": self.agent_id,
            "agent_name": self.agent_name,
            "throughput_tps": round(throughput, 2),
            "requests_processed": successful + failed,
            "avg_response_time_ms": round(latency.mean_ms, 2),
            "p95_response_time_ms": round(latency.percentile(0.95), 2),
            "p99_response_time_ms": round(latency.percentile(0.99), 2),
            "success_rate": round(1 - error_rate, 5),
            "error_count": failed,
            "timeout_count": min(failed, int(self._timed_out)),
            "current_load": round(min(1.0, utilization), 4),
            "concurrent_requests": round(throughput * latency.mean_ms / 1000),
            "health_score": round(health, 4),
            "status": status_of(round(health, 4)),
        }
        return AgentState(
            entry=entry,
            latency=latency,
            throughput_tps=entry["throughput_tps"],
            error_rate=error_rate,
            timeout_rate=timeout_rate,
            utilization=min(1.0, utilization),
            waiting=round(throughput * wait_ms / 1000),
            wait_ms=wait_ms,
            successful=successful,
            failed=failed,
            false_positive_rate=false_positive_rate,
            false_negative_rate=false_negative_rate,
        )

    def _serve(self, seconds: float, offered_tps: float, capacity: float) -> tuple[float, float]:
        """Work on what arrives and on the backlog; return what was served and what timed out, per second."""
        if seconds == 0:
            return min(offered_tps, capacity), 0.0
        # The limit stays that of a healthy agent: were it to shrink with the capacity, a lot would time out at once.
        limit = BACKLOG_SECONDS * self.capacity_tps
        left = self._backlog + (offered_tps - capacity) * seconds
        kept = max(0.0, min(limit, left))
        overflow_tps = max(0.0, left - limit) / seconds
        served_tps = min(capacity, max(0.0, offered_tps - overflow_tps - (kept - self._backlog) / seconds))
        self._backlog = kept
        return served_tps, overflow_tps

    def _quality(self, seconds: float, illness: float) -> tuple[float, float]:
        """Return how often good transactions are called fraud, and fraud good."""
        factor = math.exp(self._quality_noise.advance(seconds)) * (1 + 1.5 * illness)
        return self._false_positive_rate * factor, self._false_negative_rate * factor


def decision_accuracy(false_positive_rate: float, false_negative_rate: float, prevalence: float) -> float:
    """Return the share of right decisions when `prevalence` of the transactions are fraud."""
    return 1 - prevalence * false_negative_rate - (1 - prevalence) * false_positive_rate


def status_of(health_score: float) -> str:
    """Return the word for a health score."""
    if health_score >= HEALTHY_FROM:
        return "healthy"
    return "degraded" if health_score >= DEGRADED_FROM else "unhealthy"
