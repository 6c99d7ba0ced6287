"""The simulated agents: each has a queue, and its errors and its health follow its load.

An agent serves what it can, lets the rest wait, and lets time out what does not fit into its backlog.
"""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

from metrics_stream.collectors.demo.latency import Latency
from metrics_stream.collectors.demo.noise import Noise
from metrics_stream.collectors.demo.scenario import AGENT_NOISE, AGENT_RANGES, ROLES

HEALTH_OF_STATUS = {"healthy": 0.85, "degraded": 0.5, "unhealthy": 0.0}
"""Status → the least `health_score` with which an agent has it, best first."""

BACKLOG_SECONDS = 0.4
"""How long a healthy agent would work on the longest backlog it keeps; what does not fit times out."""


class AgentState(NamedTuple):
    """One agent after a step."""

    entry: dict[str, Any]
    """As it is published."""
    exact: dict[str, float]
    """The values for averages over all agents, not rounded."""
    latency: Latency


class DemoAgent:
    """One agent between two steps: its constants, its backlog and its counters."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self.agent_id = f"agent_{number}"
        again, role = divmod(number - 1, len(ROLES))
        self.agent_name = f"{ROLES[role]} {again + 1}" if again else ROLES[role]
        self._constants = {name: chance.uniform(*bounds) for name, bounds in AGENT_RANGES.items()}
        self.capacity_tps = self._constants["capacity_tps"]
        self.noise = Noise(chance, AGENT_NOISE)
        self._backlog = self._successful = self._failed = self._timed_out = 0.0

    def advance(self, seconds: float, *, offered_tps: float, illness: float, fraud_share: float) -> AgentState:
        """Return the state after `seconds` in which `offered_tps` arrived; `illness` is 0 (well) to 1."""
        capacity = self.capacity_tps * (1 - 0.5 * illness)
        served_tps, overflow_tps = self._serve(seconds, offered_tps, capacity)
        throughput = served_tps + overflow_tps
        utilization = offered_tps / capacity

        # The hockey stick: waiting grows slowly up to four fifths of the capacity and steeply after.
        busy = min(utilization, 0.96)
        service_ms = self._constants["service_ms"]
        wait_ms = service_ms * 0.4 * busy**4 / (1 - busy) + 1000 * self._backlog / capacity
        mean_ms = (service_ms * (1 + 4 * illness) + wait_ms) * math.exp(self.noise.advance("latency", seconds))
        latency = Latency(mean_ms, 0.38 + 0.12 * busy + 0.2 * illness)

        strain = max(0.0, min(1.0, (utilization - 0.8) / 0.35))
        usual_error_rate = 0.0006 * math.exp(self.noise.advance("error", seconds))
        served_error_rate = usual_error_rate + 0.025 * strain**2 + 0.07 * illness**2
        served_timeout_rate = 0.1 * usual_error_rate + 0.25 * (served_error_rate - usual_error_rate)
        failed_tps = served_tps * served_error_rate + overflow_tps
        timeout_tps = served_tps * served_timeout_rate + overflow_tps
        error_rate = failed_tps / throughput
        self._successful += (throughput - failed_tps) * seconds
        self._failed += failed_tps * seconds
        self._timed_out += timeout_tps * seconds
        # Successes and failures are made whole apart, and the total is their sum: so no counter ever falls.
        successful, failed = int(self._successful), int(self._failed)

        factor = math.exp(self.noise.advance("quality", seconds)) * (1 + 1.5 * illness)
        false_positive_rate = self._constants["false_positive_rate"] * factor
        false_negative_rate = self._constants["false_negative_rate"] * factor
        accuracy = 1 - fraud_share * false_negative_rate - (1 - fraud_share) * false_positive_rate
        health = round(max(0.0, 1 - 0.56 * illness - 0.28 * strain - min(0.12, error_rate)), 4)
        entry = {
            "agent_id": self.agent_id,
            "agent_name": self.agent_name,
            "throughput_tps": round(throughput, 2),
            "requests_processed": successful + failed,
            "avg_response_time_ms": round(mean_ms, 2),
            "p95_response_time_ms": round(latency.percentile(0.95), 2),
            "p99_response_time_ms": round(latency.percentile(0.99), 2),
            "success_rate": round(1 - error_rate, 5),
            "error_count": failed,
            "timeout_count": min(failed, int(self._timed_out)),
            "current_load": round(min(1.0, utilization), 4),
            "concurrent_requests": round(throughput * mean_ms / 1000),
            "health_score": health,
            "status": next(status for status, least in HEALTH_OF_STATUS.items() if health >= least),
            "decision_accuracy": round(accuracy, 5),
            "false_positive_rate": round(false_positive_rate, 5),
            "false_negative_rate": round(false_negative_rate, 5),
        }
        exact = {
            "error_rate": error_rate,
            "timeout_rate": timeout_tps / throughput,
            "utilization": min(1.0, utilization),
            "wait_ms": wait_ms,
            "waiting": round(throughput * wait_ms / 1000),
            "decision_accuracy": accuracy,
            "false_positive_rate": false_positive_rate,
            "false_negative_rate": false_negative_rate,
        }
        return AgentState(entry, exact, latency)

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
