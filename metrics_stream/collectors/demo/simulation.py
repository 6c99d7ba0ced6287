"""A simulated stress test: all metric types, consistent with each other, from a seed.

No clock, no I/O: the same seed, agents, duration and steps give the same metrics. The story and its numbers are in
scenario.py.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from metrics_stream.collectors.demo.agents import AgentState, DemoAgent
from metrics_stream.collectors.demo.business import Ledger, hero
from metrics_stream.collectors.demo.latency import Mixture
from metrics_stream.collectors.demo.noise import Noise
from metrics_stream.collectors.demo.presentation import Showcase
from metrics_stream.collectors.demo.requests import DemoRequests, RequestLog
from metrics_stream.collectors.demo.scenario import (
    GENERATOR_BUSY,
    GENERATOR_IDLE,
    SYSTEM_NOISE,
    Moment,
    Phase,
    moment_at,
)
from metrics_stream.collectors.limits import integer_between, number_between
from metrics_stream.core.errors import CollectorError

MAX_AGENTS = 200
"""More would make an `agent` metric come close to the largest one that the helper takes."""

MAX_DURATION_SECONDS = 31_536_000.0

_SLOW_MS = 400.0
"""A response that a customer notices as slow."""

_BYTES_PER_REQUEST = 9_200

_THINK_SECONDS = 1.0
"""How long a user waits between a response and the next request; with Little's law it gives the number of users."""


class DemoStep(NamedTuple):
    """Everything the simulated test measures at one instant, as the helper takes it."""

    elapsed_seconds: float
    cycle: int
    phase: Phase
    system: dict[str, Any]
    agents: list[dict[str, Any]]
    business: dict[str, Any]
    hero: dict[str, Any]
    presentation: dict[str, Any]
    requests: DemoRequests


class DemoTest:
    """A simulated stress test of `agents` agents; with a `duration` of 0 its story repeats without end.

    Call `step` with rising times. Rates are those of the time since the previous step, and each total grows by its
    rate times that time.
    """

    def __init__(self, seed: Any = 1, agents: Any = 5, duration: Any = 0.0) -> None:
        self.seed = integer_between("the seed", seed, -(2**63), 2**63 - 1)
        agent_count = integer_between("the number of agents", agents, 1, MAX_AGENTS)
        self.duration_seconds = number_between("the duration", duration, 0.0, MAX_DURATION_SECONDS)
        chance = random.Random(f"demo/{self.seed}")  # noqa: S311
        self._agents = [DemoAgent(number, chance) for number in range(1, agent_count + 1)]
        self._capacity_tps = sum(agent.capacity_tps for agent in self._agents)
        self._ledger = Ledger(chance, self._capacity_tps)
        self._showcase = Showcase(self._capacity_tps)
        self._noise = Noise(chance, SYSTEM_NOISE)
        self._elapsed: float | None = None
        self._request_log = RequestLog(random.Random(f"demo/{self.seed}/requests"))  # noqa: S311
        self._requests = self._failed = 0

    def step(self, elapsed_seconds: float) -> DemoStep:
        """Return the metrics `elapsed_seconds` after the start; each call must be later than the one before."""
        if self._elapsed is not None and not elapsed_seconds > self._elapsed:
            raise CollectorError(f"the step at {elapsed_seconds!r} s is not after the one at {self._elapsed!r} s")
        number_between("the elapsed time", elapsed_seconds, 0.0, 10 * MAX_DURATION_SECONDS)
        seconds = elapsed_seconds - (self._elapsed or 0.0)
        self._elapsed = elapsed_seconds
        moment = moment_at(
            elapsed_seconds, seed=self.seed, agents=len(self._agents), duration_seconds=self.duration_seconds
        )
        states = self._advance_agents(seconds, moment)
        of_agents = Mixture([(state.entry["throughput_tps"], state.latency) for state in states])
        mixture = of_agents.spread(self._request_log.kinds(moment))
        requests = self._count_requests(seconds, states, of_agents, moment)
        system = self._system(seconds, states, mixture, requests, moment)
        business = self._ledger.advance(
            seconds,
            system,
            accuracy=_mean(states, "decision_accuracy"),
            misses=_mean(states, "false_negative_rate"),
            alarms=_mean(states, "false_positive_rate"),
            slow=1 - mixture.share_within(_SLOW_MS),
        )
        metrics: dict[str, Any] = {
            "system": system,
            "agents": [state.entry for state in states],
            "business": business,
            "hero": hero(system, business),
        }
        presentation = self._showcase.advance(elapsed_seconds, moment.phase, **metrics)
        return DemoStep(
            elapsed_seconds, moment.cycle, moment.phase, **metrics, presentation=presentation, requests=requests
        )

    def _advance_agents(self, seconds: float, moment: Moment) -> list[AgentState]:
        """Spread the load over the agents by capacity, less to one that is ill, as a load balancer does."""
        offered_tps = self._capacity_tps * moment.load * (1 + self._noise.advance("load", seconds))
        illnesses = [moment.illness if i == moment.failing_agent else 0.0 for i in range(len(self._agents))]
        weights = [
            agent.capacity_tps * (1 + agent.noise.advance("share", seconds)) * (1 - 0.6 * illness)
            for agent, illness in zip(self._agents, illnesses, strict=True)
        ]
        total, fraud_share = sum(weights), self._ledger.fraud_share
        return [
            agent.advance(seconds, offered_tps=offered_tps * weight / total, illness=illness, fraud_share=fraud_share)
            for agent, weight, illness in zip(self._agents, weights, illnesses, strict=True)
        ]

    def _count_requests(
        self, seconds: float, states: list[AgentState], of_agents: Mixture, moment: Moment
    ) -> DemoRequests:
        before, failed_before = self._requests, self._failed
        self._requests = sum(state.entry["requests_processed"] for state in states)
        self._failed = sum(state.entry["error_count"] for state in states)
        return self._request_log.advance(
            self._elapsed or 0.0,
            seconds,
            moment,
            of_agents,
            requests=self._requests - before,
            failed=self._failed - failed_before,
        )

    def _system(
        self, seconds: float, states: list[AgentState], mixture: Mixture, requests: DemoRequests, moment: Moment
    ) -> dict[str, Any]:
        throughput = round(sum(state.entry["throughput_tps"] for state in states), 2)
        total, failed = self._requests, self._failed
        busy = sum(state.exact["utilization"] for state in states) / len(states)
        # The slowest of n responses is about their percentile 1 - 1/n.
        p99 = mixture.percentile(0.99)
        slowest = mixture.percentile(max(0.99, 1 - 1 / (2 + throughput * max(seconds, 0.1))))
        megabits = throughput * _BYTES_PER_REQUEST * 8 / 1e6
        return {
            "throughput_tps": throughput,
            "requests_total": total,
            "requests_successful": total - failed,
            "requests_failed": failed,
            "avg_response_time_ms": round(mixture.mean_ms, 2),
            "p50_response_time_ms": round(mixture.percentile(0.50), 2),
            "p95_response_time_ms": round(mixture.percentile(0.95), 2),
            "p99_response_time_ms": round(p99, 2),
            "max_response_time_ms": round(max(p99, slowest), 2),
            "error_rate": round(_mean(states, "error_rate"), 5),
            "timeout_rate": round(_mean(states, "timeout_rate"), 5),
            "cpu_utilization": _clamped(0.05 + 0.86 * busy + self._noise.advance("cpu", seconds)),
            "memory_utilization": _clamped(0.38 + 0.24 * busy + self._noise.advance("memory", seconds)),
            "network_throughput_mbps": round(megabits * (1 + self._noise.advance("size", seconds)), 2),
            "queue_depth": sum(state.exact["waiting"] for state in states),
            "queue_latency_ms": round(_mean(states, "wait_ms"), 2),
            "users": round(throughput * (mixture.mean_ms / 1000 + _THINK_SECONDS)),
            "response_time_total_ms": requests.response_time_total_ms,
            "elapsed_seconds": round(self._elapsed or 0.0, 3),
            "phase": moment.phase,
            **_load_generator(self._capacity_tps * moment.load, moment),
        }


def _load_generator(target_tps: float, moment: Moment) -> dict[str, float]:
    """Return how the program fares that makes the load: at the height of the spike it is at its limit."""
    busy = min(0.97, GENERATOR_IDLE + GENERATOR_BUSY * moment.load)
    late_ms = round(2 + 400 * max(0.0, busy - 0.85), 2)
    return {
        "target_tps": round(target_tps, 2),
        "dropped_iterations": 0,
        "schedule_lag_ms": late_ms,
        "generator_cpu_utilization": round(busy, 4),
        "generator_lag_ms": late_ms,
        "generator_queue_depth": 0,
        "generator_dropped_metrics": 0,
    }


def _mean(states: list[AgentState], name: str) -> float:
    """Return the average of a value of the agents, each with the weight of its requests."""
    weights = [state.entry["throughput_tps"] for state in states]
    return float(sum(weight * state.exact[name] for weight, state in zip(weights, states, strict=True)) / sum(weights))


def _clamped(ratio: float) -> float:
    return round(max(0.01, min(0.99, ratio)), 4)
