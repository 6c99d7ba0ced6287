"""The package for the big screen, put together from the other metrics of the same step.

Part of the demo; pure. It invents no number of its own but the competitors' and the test's records so far.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from metrics_stream.collectors.demo.business import BASELINE_COST
from metrics_stream.collectors.demo.scenario import Phase

MAX_AGENT_NODES = 8
"""More agents are drawn as pools of neighbours: a picture of fifty nodes tells nobody anything."""

# Key → the competitors' average, and whether more of it is better. Throughput depends on the test's size and is added
# there.
_COMPETITORS: dict[str, tuple[float, bool]] = {
    "avg_response_time_ms": (145.0, False),
    "p99_response_time_ms": (620.0, False),
    "error_rate": (0.012, False),
    "cost_per_transaction": (0.17, False),
    "fraud_detection_accuracy": (0.962, True),
}

_STORIES: dict[Phase, str] = {
    "ramp": "Load is rising. {tps:,.0f} transactions per second are answered in {avg:,.0f} ms on average.",
    "plateau": "Steady load: {tps:,.0f} transactions per second, {healthy} of {agents} agents healthy.",
    "spike": "A spike tests the limits: {tps:,.0f} transactions per second, {errors:.1%} of them failing.",
    "recovery": "The spike is over. Responses are back at {avg:,.0f} ms on average and the queues are draining.",
}

_SEVERITY = ("healthy", "degraded", "unhealthy")


class Showcase:
    """Builds the `presentation` metric of each step, and remembers the test's records."""

    def __init__(self, capacity_tps: float) -> None:
        self._competitors = {"throughput_tps": (round(0.45 * capacity_tps, 1), True), **_COMPETITORS}
        self._peak_tps = 0.0
        self._ill_since: dict[str, float] = {}
        self._incidents = 0
        self._recoveries = 0
        self._last_recovery_seconds: float | None = None

    def package(
        self,
        elapsed_seconds: float,
        phase: Phase,
        *,
        system: dict[str, Any],
        agents: list[dict[str, Any]],
        business: dict[str, Any],
        hero: dict[str, Any],
    ) -> dict[str, Any]:
        """Return the `presentation` metric of the step."""
        self._remember(elapsed_seconds, system, agents)
        resilience = self._resilience(phase, system, agents, hero)
        return {
            "hero_metrics": hero,
            "system_metrics": system,
            "business_metrics": business,
            "transaction_flow_data": transaction_flow(system, agents),
            "competitive_benchmarks": self._benchmarks(system, business),
            "cost_efficiency": _cost_efficiency(business),
            "resilience_demonstration": resilience,
            "business_narrative": _narrative(phase, system, agents, business),
            "key_highlights": self._highlights(business, hero, resilience),
            "investor_profile": "Growth investor: looks for scale, unit economics and resilience under load.",
        }

    def _remember(self, elapsed_seconds: float, system: dict[str, Any], agents: list[dict[str, Any]]) -> None:
        self._peak_tps = max(self._peak_tps, system["throughput_tps"])
        for agent in agents:
            ill_since = self._ill_since.get(agent["agent_id"])
            if agent["status"] == "unhealthy" and ill_since is None:
                self._ill_since[agent["agent_id"]] = elapsed_seconds
                self._incidents += 1
            elif agent["status"] == "healthy" and ill_since is not None:
                del self._ill_since[agent["agent_id"]]
                self._recoveries += 1
                self._last_recovery_seconds = round(elapsed_seconds - ill_since, 1)

    def _benchmarks(self, system: dict[str, Any], business: dict[str, Any]) -> dict[str, Any]:
        ours = {key: (system if key in system else business)[key] for key in self._competitors}
        improvement = {
            key: _improvement(ours[key], average, more_is_better=more_is_better)
            for key, (average, more_is_better) in self._competitors.items()
        }
        ahead = sum(value > 0 for value in improvement.values())
        place = "Leader" if ahead == len(improvement) else "Challenger" if ahead * 2 >= len(improvement) else "Follower"
        return {
            "our_performance": ours,
            "competitor_avg": {key: average for key, (average, _) in self._competitors.items()},
            "improvement_percentage": improvement,
            "unique_advantages": [
                "Every decision explained by the agent that made it",
                "An agent that fails is relieved within seconds, without an operator",
                "Cost per transaction falls as load rises",
            ],
            "market_position": f"{place}: ahead of the competitors' average in {ahead} of {len(improvement)} measures",
        }

    def _resilience(
        self, phase: Phase, system: dict[str, Any], agents: list[dict[str, Any]], hero: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "phase": phase,
            **{f"{status}_agents": sum(agent["status"] == status for agent in agents) for status in _SEVERITY},
            "availability_percentage": hero["uptime_percentage"],
            "error_rate": system["error_rate"],
            "peak_throughput_tps": self._peak_tps,
            "incidents": self._incidents,
            "recoveries": self._recoveries,
            "last_recovery_seconds": self._last_recovery_seconds,
        }

    def _highlights(self, business: dict[str, Any], hero: dict[str, Any], resilience: dict[str, Any]) -> list[str]:
        highlights = [
            f"{business['fraud_detected']:,} frauds stopped, worth ${business['fraud_prevented_amount']:,.0f}",
            f"${business['money_saved']:,.0f} saved for ${business['total_cost']:,.0f} spent",
            f"{hero['uptime_percentage']:.2f} % of all requests answered",
            f"Peak of {self._peak_tps:,.0f} transactions per second",
        ]
        if resilience["last_recovery_seconds"] is not None:
            highlights.append(f"Last failed agent back after {resilience['last_recovery_seconds']:.0f} s")
        return highlights


def transaction_flow(system: dict[str, Any], agents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the nodes, left to right, and the edges of the picture that shows where transactions go.

    Positions are shares of the width (x) and the height (y).
    """
    throughput = system["throughput_tps"]
    worst = "degraded" if system["error_rate"] >= 0.02 else "healthy"
    pools = _pools(agents)
    workers = [_agent_node(pool, y=round((place + 0.5) / len(pools), 4)) for place, pool in enumerate(pools)]
    generator = _node(
        "generator", "source", "Load generator", status="healthy", throughput=throughput, latency_ms=0.0, x=0.0
    )
    gateway = _node(
        "gateway",
        "gateway",
        "Gateway",
        status=worst,
        throughput=throughput,
        latency_ms=system["avg_response_time_ms"],
        error_rate=system["error_rate"],
        x=0.25,
    )
    queue = _node(
        "queue",
        "queue",
        "Queue",
        status=worst,
        throughput=throughput,
        latency_ms=system["queue_latency_ms"],
        error_rate=system["timeout_rate"],
        x=0.5,
    )
    answered = round(throughput * (1 - system["error_rate"]), 2)
    ledger = _node("ledger", "database", "Ledger", status="healthy", throughput=answered, latency_ms=4.0, x=1.0)
    pairs = [("generator", "gateway"), ("gateway", "queue")]
    pairs += [("queue", worker["node_id"]) for worker in workers]
    pairs += [(worker["node_id"], "ledger") for worker in workers]
    return {
        "nodes": [generator, gateway, queue, *workers, ledger],
        "edges": [{"source": source, "target": target} for source, target in pairs],
    }


def _pools(agents: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    count = min(len(agents), MAX_AGENT_NODES)
    bounds = [round(i * len(agents) / count) for i in range(count + 1)]
    return [agents[start:end] for start, end in pairwise(bounds)]


def _agent_node(pool: list[dict[str, Any]], *, y: float) -> dict[str, Any]:
    first, last = pool[0], pool[-1]
    throughput = sum(agent["throughput_tps"] for agent in pool)
    failing = sum(agent["throughput_tps"] * (1 - agent["success_rate"]) for agent in pool)
    alone = len(pool) == 1
    return _node(
        first["agent_id"] if alone else f"{first['agent_id']}-{last['agent_id']}",
        "agent" if alone else "agent_pool",
        first["agent_name"] if alone else f"{len(pool)} agents",
        status=max((agent["status"] for agent in pool), key=_SEVERITY.index),
        throughput=round(throughput, 2),
        latency_ms=round(
            sum(agent["throughput_tps"] * agent["avg_response_time_ms"] for agent in pool) / throughput, 2
        ),
        error_rate=round(failing / throughput, 5),
        x=0.75,
        y=y,
    )


def _node(
    node_id: str,
    node_type: str,
    node_name: str,
    *,
    status: str,
    throughput: float,
    latency_ms: float,
    error_rate: float = 0.0,
    x: float,
    y: float = 0.5,
) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "node_type": node_type,
        "node_name": node_name,
        "status": status,
        "throughput": throughput,
        "latency_ms": latency_ms,
        "error_rate": error_rate,
        "position": {"x": x, "y": y},
    }


def _improvement(ours: float, theirs: float, *, more_is_better: bool) -> float:
    """Return by how many per cent of theirs we are better; negative is worse."""
    return round(100 * (ours - theirs if more_is_better else theirs - ours) / theirs, 2)


def _cost_efficiency(business: dict[str, Any]) -> dict[str, Any]:
    saved, cost = business["money_saved"], business["total_cost"]
    return {
        "cost_per_transaction": business["cost_per_transaction"],
        "baseline_cost_per_transaction": BASELINE_COST,
        "savings_percentage": round(-business["cost_vs_baseline"], 2),
        "total_cost": cost,
        "money_saved": saved,
        "net_gain": round(saved - cost, 2),
        "roi_percentage": business["roi_percentage"],
        "payback_period_months": business["payback_period_months"],
    }


def _narrative(phase: Phase, system: dict[str, Any], agents: list[dict[str, Any]], business: dict[str, Any]) -> str:
    story = _STORIES[phase].format(
        tps=system["throughput_tps"],
        avg=system["avg_response_time_ms"],
        errors=system["error_rate"],
        healthy=sum(agent["status"] == "healthy" for agent in agents),
        agents=len(agents),
    )
    ill = [agent["agent_name"] for agent in agents if agent["status"] == "unhealthy"]
    if ill:
        story += f" {', '.join(ill)} {'is' if len(ill) == 1 else 'are'} failing; the others take over the work."
    return f"{story} So far {business['transactions_processed']:,} transactions saved ${business['money_saved']:,.0f}."
