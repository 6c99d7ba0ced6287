"""The `presentation` metric, put together from the other metrics of the same step.

It adds no number of its own but the competitors' and the test's records so far.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from metrics_stream.collectors.demo import scenario
from metrics_stream.collectors.demo.agents import HEALTH_OF_STATUS
from metrics_stream.collectors.demo.scenario import BASELINE_COST, COMPETITORS, Phase

MAX_AGENT_NODES = 8
"""More agents are drawn as pools of neighbours: fifty nodes make no readable picture."""

Entry = dict[str, Any]

_MEASURES = {
    "throughput_tps": "tps",
    "avg_response_time_ms": "ms",
    "p99_response_time_ms": "ms",
    "error_rate": "ratio",
    "cost_per_transaction": "$",
    "fraud_detection_accuracy": "ratio",
}
_COSTS = ("cost_per_transaction", "baseline_cost_per_transaction", "total_cost", "money_saved", "net_gain")
UNITS = {
    **{f"competitive_benchmarks.our_performance.{name}": unit for name, unit in _MEASURES.items()},
    **{f"competitive_benchmarks.competitor_avg.{name}": unit for name, unit in _MEASURES.items()},
    "competitive_benchmarks.improvement_percentage": "percent",
    **{f"cost_efficiency.{name}": "$" for name in _COSTS},
    "cost_efficiency.savings_percentage": "percent",
    "cost_efficiency.roi_percentage": "percent",
    "cost_efficiency.payback_period_months": "months",
    "resilience_demonstration.availability_percentage": "percent",
    "resilience_demonstration.error_rate": "ratio",
    "resilience_demonstration.peak_throughput_tps": "tps",
    "resilience_demonstration.last_recovery_seconds": "s",
}
"""The units of fields that no catalogue knows."""


class Showcase:
    """Builds the `presentation` metric of each step, and remembers the test's records."""

    def __init__(self, capacity_tps: float) -> None:
        self._competitors = {name: average for name, (average, _) in COMPETITORS.items()}
        self._competitors["throughput_tps"] = round(self._competitors["throughput_tps"] * capacity_tps, 1)
        self._peak_tps = 0.0
        self._ill_since: dict[str, float] = {}
        self._incidents = self._recoveries = 0
        self._last_recovery_seconds: float | None = None

    def advance(
        self, at: float, phase: Phase, *, system: Entry, agents: list[Entry], business: Entry, hero: Entry
    ) -> Entry:
        """Return the `presentation` metric of the step `at` seconds after the start."""
        self._remember(at, system, agents)
        counts = {status: sum(agent["status"] == status for agent in agents) for status in HEALTH_OF_STATUS}
        resilience = {
            "phase": phase,
            **{f"{status}_agents": count for status, count in counts.items()},
            "availability_percentage": hero["uptime_percentage"],
            "error_rate": system["error_rate"],
            "peak_throughput_tps": self._peak_tps,
            "incidents": self._incidents,
            "recoveries": self._recoveries,
            "last_recovery_seconds": self._last_recovery_seconds,
        }
        facts = business | hero | system | resilience | {"agents": len(agents)}
        facts |= {"rate": scenario.RATE.format(**facts), "average": scenario.AVERAGE.format(**facts)}
        highlights = list(scenario.HIGHLIGHTS)
        if self._last_recovery_seconds is not None:
            highlights.append(scenario.RECOVERY_HIGHLIGHT)
        failing = [agent["agent_name"] for agent in agents if agent["status"] == "unhealthy"]
        story = scenario.STORIES[phase]
        if failing:
            story += scenario.ONE_FAILS if len(failing) == 1 else scenario.SEVERAL_FAIL
        return {
            "hero_metrics": hero,
            "system_metrics": system,
            "business_metrics": business,
            "transaction_flow_data": transaction_flow(system, agents),
            "competitive_benchmarks": self._benchmarks(business | system),
            "cost_efficiency": {
                "cost_per_transaction": business["cost_per_transaction"],
                "baseline_cost_per_transaction": BASELINE_COST,
                "savings_percentage": round(100 * (1 - business["cost_vs_baseline"]), 2),
                "total_cost": business["total_cost"],
                "money_saved": business["money_saved"],
                "net_gain": round(business["money_saved"] - business["total_cost"], 2),
                "roi_percentage": business["roi_percentage"],
                "payback_period_months": business["payback_period_months"],
            },
            "resilience_demonstration": resilience,
            "business_narrative": (story + scenario.RESULT).format(**facts, names=", ".join(failing)),
            "key_highlights": [text.format(**facts) for text in highlights],
            "investor_profile": scenario.INVESTOR,
        }

    def _remember(self, at: float, system: Entry, agents: list[Entry]) -> None:
        self._peak_tps = max(self._peak_tps, system["throughput_tps"])
        for agent in agents:
            ill_since = self._ill_since.get(agent["agent_id"])
            if agent["status"] == "unhealthy" and ill_since is None:
                self._ill_since[agent["agent_id"]] = at
                self._incidents += 1
            elif agent["status"] == "healthy" and ill_since is not None:
                del self._ill_since[agent["agent_id"]]
                self._recoveries += 1
                self._last_recovery_seconds = round(at - ill_since, 1)

    def _benchmarks(self, metrics: Entry) -> Entry:
        ours = {name: metrics[name] for name in COMPETITORS}
        # By how many per cent of theirs we are better; negative is worse.
        improvement = {
            name: round(100 * (ours[name] - theirs if COMPETITORS[name][1] else theirs - ours[name]) / theirs, 2)
            for name, theirs in self._competitors.items()
        }
        ahead = sum(value > 0 for value in improvement.values())
        place = "Leader" if ahead == len(improvement) else "Challenger" if ahead * 2 >= len(improvement) else "Follower"
        return {
            "our_performance": ours,
            "competitor_avg": dict(self._competitors),
            "improvement_percentage": improvement,
            "unique_advantages": list(scenario.ADVANTAGES),
            "market_position": f"{place}: ahead of the competitors' average in {ahead} of {len(improvement)} measures",
        }


def transaction_flow(system: Entry, agents: list[Entry]) -> Entry:
    """Return the nodes, left to right, and the edges of the picture that shows where transactions go.

    Positions are shares of the width (x) and the height (y).
    """
    tps, errors = system["throughput_tps"], system["error_rate"]
    worst = "degraded" if errors >= 0.02 else "healthy"
    count = min(len(agents), MAX_AGENT_NODES)
    bounds = [round(i * len(agents) / count) for i in range(count + 1)]
    pools = [agents[start:end] for start, end in pairwise(bounds)]
    workers = [_agent_node(pool, y=round((place + 0.5) / count, 4)) for place, pool in enumerate(pools)]
    before = [
        _node(0.0, 0.5, "generator", "source", "Load generator", "healthy", tps, 0.0, 0.0),
        _node(0.25, 0.5, "gateway", "gateway", "Gateway", worst, tps, system["avg_response_time_ms"], errors),
        _node(0.5, 0.5, "queue", "queue", "Queue", worst, tps, system["queue_latency_ms"], system["timeout_rate"]),
    ]
    ledger = _node(1.0, 0.5, "ledger", "database", "Ledger", "healthy", round(tps * (1 - errors), 2), 4.0, 0.0)
    names = [worker["node_id"] for worker in workers]
    pairs = [("generator", "gateway"), ("gateway", "queue")]
    pairs += [("queue", name) for name in names] + [(name, "ledger") for name in names]
    return {
        "nodes": [*before, *workers, ledger],
        "edges": [{"source": source, "target": target} for source, target in pairs],
    }


def _agent_node(pool: list[Entry], *, y: float) -> Entry:
    first, last, is_alone = pool[0], pool[-1], len(pool) == 1
    tps = sum(agent["throughput_tps"] for agent in pool)
    return _node(
        0.75,
        y,
        first["agent_id"] if is_alone else f"{first['agent_id']}-{last['agent_id']}",
        "agent" if is_alone else "agent_pool",
        first["agent_name"] if is_alone else f"{len(pool)} agents",
        max((agent["status"] for agent in pool), key=list(HEALTH_OF_STATUS).index),
        round(tps, 2),
        round(sum(agent["throughput_tps"] * agent["avg_response_time_ms"] for agent in pool) / tps, 2),
        round(sum(agent["throughput_tps"] * (1 - agent["success_rate"]) for agent in pool) / tps, 5),
    )


def _node(x: float, y: float, *values: Any) -> Entry:
    names = ("node_id", "node_type", "node_name", "status", "throughput", "latency_ms", "error_rate")
    return {**dict(zip(names, values, strict=True)), "position": {"x": x, "y": y}}
