"""A stress test that never happened: all five metric types, consistent with each other, from a seed.

Pure: no clock, no I/O. The same seed, agents, duration and steps give the same metrics. The story is in
demo_scenario, the agents are in demo_agents, the money in demo_business, the big screen in demo_presentation.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from metrics_stream.collectors.demo.agents import AgentState, DemoAgent, Wander, decision_accuracy
from metrics_stream.collectors.demo.business import Ledger
from metrics_stream.collectors.demo.latency import Mixture
from metrics_stream.collectors.demo.presentation import Showcase
from metrics_stream.collectors.demo.scenario import Moment, Phase, Scenario
from metrics_stream.collectors.limits import integer_between, number_between
from metrics_stream.core.errors import CollectorError

MAX_AGENTS = 200
"""More would make an `agent` metric come close to the largest one the helper takes."""

MAX_DURATION_SECONDS = 31_536_000.0

_SLOW_MS = 400.0
"""A response that a customer notices as slow."""

_BYTES_PER_REQUEST = 9_200


@dataclass(frozen=True, slots=True)
class DemoStep:
    """Everything the simulated test measures at one instant, as the helper takes it."""

    elapsed_seconds: float
    cycle: int
    phase: Phase
    system: dict[str, Any]
    agents: list[dict[str, Any]]
    business: dict[str, Any]
    hero: dict[str, Any]
    presentation: dict[str, Any]


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
        self._scenario = Scenario(self.seed, agent_count, self.duration_seconds)
        self._ledger = Ledger(chance, self._capacity_tps)
        self._showcase = Showcase(self._capacity_tps)
        self._load_noise = Wander(chance, spread=0.02, memory_seconds=3.0)
        self._cpu_noise = Wander(chance, spread=0.02, memory_seconds=3.0)
        self._memory_noise = Wander(chance, spread=0.004, memory_seconds=10.0)
        self._size_noise = Wander(chance, spread=0.03, memory_seconds=5.0)
        self._elapsed: float | None = None

    def step(self, elapsed_seconds: float) -> DemoStep:
        """Return the metrics `elapsed_seconds` after the start; each call must be later than the one before."""
        if self._elapsed is not None and not elapsed_seconds > self._elapsed:
            raise CollectorError(f"the step at {elapsed_seconds!r} s is not after the one at {self._elapsed!r} s")
        number_between("the elapsed time", elapsed_seconds, 0.0, 10 * MAX_DURATION_SECONDS)
        seconds = elapsed_seconds - (self._elapsed or 0.0)
        self._elapsed = elapsed_seconds
        moment = self._scenario.at(elapsed_seconds)

        states = self._advance_agents(seconds, moment)
        mixture = Mixture([(state.throughput_tps, state.latency) for state in states])
        system = self._system(seconds, states, mixture, moment)
        quality = _quality(states, self._ledger.fraud_share)
        agents = [
            state.entry
            | {
                "decision_accuracy": round(accuracy, 5),
                "false_positive_rate": round(state.false_positive_rate, 5),
                "false_negative_rate": round(state.false_negative_rate, 5),
            }
            for state, accuracy in zip(states, quality.accuracies, strict=True)
        ]
        customer_impact = min(
            1.0,
            system["error_rate"] + quality.false_positive_rate + 0.5 * (1 - mixture.share_within(_SLOW_MS)),
        )
        business = self._ledger.advance(
            seconds,
            transactions=system["requests_successful"],
            transactions_per_second=round(system["throughput_tps"] * (1 - system["error_rate"]), 2),
            avg_response_time_ms=system["avg_response_time_ms"],
            detection_rate=1 - quality.false_negative_rate,
            accuracy=quality.accuracy,
            false_positive_rate=quality.false_positive_rate,
            customer_impact=customer_impact,
        )
        hero = _hero(system, business)
        presentation = self._showcase.package(
            elapsed_seconds, moment.phase, system=system, agents=agents, business=business, hero=hero
        )
        return DemoStep(elapsed_seconds, moment.cycle, moment.phase, system, agents, business, hero, presentation)

    def _advance_agents(self, seconds: float, moment: Moment) -> list[AgentState]:
        """Spread the load over the agents by capacity, less to one that is ill, as a load balancer does."""
        offered_tps = self._capacity_tps * moment.load * (1 + self._load_noise.advance(seconds))
        illnesses = [moment.illness if i == moment.failing_agent else 0.0 for i in range(len(self._agents))]
        weights = [
            agent.capacity_tps * (1 + agent.share_noise.advance(seconds)) * (1 - 0.6 * illness)
            for agent, illness in zip(self._agents, illnesses, strict=True)
        ]
        total = sum(weights)
        return [
            agent.advance(seconds, offered_tps=offered_tps * weight / total, illness=illness)
            for agent, weight, illness in zip(self._agents, weights, illnesses, strict=True)
        ]

    def _system(self, seconds: float, states: list[AgentState], mixture: Mixture, moment: Moment) -> dict[str, Any]:
        throughput = round(sum(state.throughput_tps for state in states), 2)
        successful = sum(state.successful for state in states)
        failed = sum(state.failed for state in states)
        busy = sum(state.utilization for state in states) / len(states)
        # The slowest of n responses is about their percentile 1 - 1/n.
        p99 = mixture.percentile(0.99)
        slowest = mixture.percentile(max(0.99, 1 - 1 / (2 + throughput * max(seconds, 0.1))))
        wait_ms = _weighted(states, [state.wait_ms for state in states])
        megabits = throughput * _BYTES_PER_REQUEST * 8 / 1e6
        return {
            "throughput_tps": throughput,
            "requests_total": successful + failed,
            "requests_successful": successful,
            "requests_failed": failed,
            "avg_response_time_ms": round(mixture.mean_ms, 2),
            "p50_response_time_ms": round(mixture.percentile(0.50), 2),
            "p95_response_time_ms": round(mixture.percentile(0.95), 2),
            "p99_response_time_ms": round(p99, 2),
            "max_response_time_ms": round(max(p99, slowest), 2),
            "error_rate": round(_weighted(states, [state.error_rate for state in states]), 5),
            "timeout_rate": round(_weighted(states, [state.timeout_rate for state in states]), 5),
            "cpu_utilization": _clamped(0.05 + 0.86 * busy + self._cpu_noise.advance(seconds)),
            "memory_utilization": _clamped(0.38 + 0.24 * busy + self._memory_noise.advance(seconds)),
            "network_throughput_mbps": round(megabits * (1 + self._size_noise.advance(seconds)), 2),
            "queue_depth": sum(state.waiting for state in states),
            "queue_latency_ms": round(wait_ms, 2),
            "phase": moment.phase,
        }


@dataclass(frozen=True, slots=True)
class _Quality:
    accuracies: list[float]
    accuracy: float
    false_positive_rate: float
    false_negative_rate: float


def _quality(states: list[AgentState], fraud_share: float) -> _Quality:
    accuracies = [
        decision_accuracy(state.false_positive_rate, state.false_negative_rate, fraud_share) for state in states
    ]
    return _Quality(
        accuracies,
        _weighted(states, accuracies),
        _weighted(states, [state.false_positive_rate for state in states]),
        _weighted(states, [state.false_negative_rate for state in states]),
    )


def _hero(system: dict[str, Any], business: dict[str, Any]) -> dict[str, Any]:
    total = system["requests_total"]
    accuracy = business["fraud_detection_accuracy"]
    return {
        "total_transactions": business["transactions_processed"],
        "fraud_blocked": business["fraud_detected"],
        "money_saved": business["money_saved"],
        "uptime_percentage": round(100 * system["requests_successful"] / total, 4) if total else 100.0,
        "transactions_per_second": business["transactions_per_second"],
        "avg_response_time_ms": system["avg_response_time_ms"],
        "ai_accuracy": accuracy,
        # Confidence falls with the misses faster than accuracy, in which rare fraud hardly counts.
        "ai_confidence": round(accuracy * (0.7 + 0.3 * business["fraud_detection_rate"]), 5),
        "cost_per_transaction": business["cost_per_transaction"],
        "roi_percentage": business["roi_percentage"],
        "customer_satisfaction": round(1 - business["customer_impact_score"], 5),
    }


def _weighted(states: list[AgentState], values: list[float]) -> float:
    """Return the average of the agents' values, each with the weight of its requests."""
    total = sum(state.throughput_tps for state in states)
    return sum(state.throughput_tps * value for state, value in zip(states, values, strict=True)) / total


def _clamped(ratio: float) -> float:
    return round(max(0.01, min(0.99, ratio)), 4)
