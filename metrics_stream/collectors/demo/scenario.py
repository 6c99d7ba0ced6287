"""The scenario of the simulated stress test: its story as one table, and the numbers that shape it.

Instants are shares of the cycle, so that a test of ten seconds tells the same story as one of four minutes.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from itertools import pairwise
from typing import Literal, NamedTuple

Phase = Literal["ramp", "plateau", "spike", "recovery"]
Curve = tuple[tuple[float, float], ...]
"""Points of an instant, as a share of the cycle, and the value there."""

CYCLE_SECONDS = 240.0
"""An endless test repeats its story after this time: long enough for a chart of five minutes to hold one of each."""

PEAK = math.inf
"""Stands for the load at the height of the spike, which each cycle draws from PEAK_LOAD."""
PEAK_LOAD = (1.04, 1.10)


class Row(NamedTuple):
    """A row of the scenario; None leaves the value to the curve through the rows around it."""

    at: float
    phase: Phase
    """From this row on."""
    load: float | None
    """Requests asked for, as a share of what all agents can do when healthy."""
    illness: float | None
    """How ill the failing agent is: 0 is well, 1 is at its worst."""


# The agent fails on the plateau, where nothing else explains the errors. The ends are equal, so that cycles join.
SCENARIO = (
    Row(0.00, "ramp", 0.22, 0.0),
    Row(0.04, "ramp", 0.34, None),
    Row(0.20, "plateau", 0.70, None),
    Row(0.24, "plateau", None, 0.0),
    Row(0.33, "plateau", None, 1.0),
    Row(0.36, "plateau", 0.68, None),
    Row(0.40, "plateau", None, 1.0),
    Row(0.48, "plateau", None, 0.0),
    Row(0.52, "spike", 0.72, None),
    Row(0.55, "spike", PEAK, None),
    Row(0.62, "spike", PEAK, None),
    Row(0.66, "recovery", 0.66, None),
    Row(0.80, "recovery", 0.55, None),
    Row(1.00, "recovery", 0.22, 0.0),
)

STORIES: dict[Phase, str] = {
    "ramp": "Load is rising. {rate} are answered in {average} on average.",
    "plateau": "Steady load: {rate}, {healthy_agents} of {agents} agents healthy.",
    "spike": "A spike tests the limits: {rate}, {error_rate:.1%} of them failing.",
    "recovery": "The spike is over. Responses are back at {average} on average and the queues are draining.",
}
RATE = "{throughput_tps:,.0f} transactions per second"
AVERAGE = "{avg_response_time_ms:,.0f} ms"
ONE_FAILS = " {names} is failing; the others take over the work."
SEVERAL_FAIL = " {names} are failing; the others take over the work."
RESULT = " So far {transactions_processed:,} transactions saved ${money_saved:,.0f}."

HIGHLIGHTS = (
    "{fraud_detected:,} frauds stopped, worth ${fraud_prevented_amount:,.0f}",
    "${money_saved:,.0f} saved for ${total_cost:,.0f} spent",
    "{uptime_percentage:.2f} % of all requests answered",
    "Peak of {peak_throughput_tps:,.0f} transactions per second",
)
RECOVERY_HIGHLIGHT = "Last failed agent back after {last_recovery_seconds:.0f} s"

ADVANTAGES = (
    "Every decision explained by the agent that made it",
    "An agent that fails is relieved within seconds, without an operator",
    "Cost per transaction falls as load rises",
)
INVESTOR = "Growth investor: looks for scale, unit economics and resilience under load."

ROLES = ("Fraud scorer", "Identity check", "Payment router", "Sanctions screen", "Risk review")

AGENT_RANGES = {
    "capacity_tps": (170.0, 230.0),
    "service_ms": (18.0, 32.0),
    "false_positive_rate": (0.006, 0.011),
    "false_negative_rate": (0.03, 0.06),
}
"""Each agent draws its constants from these ranges."""

# Noise → its spread, and its memory in seconds.
AGENT_NOISE = {"latency": (0.05, 4.0), "error": (0.2, 8.0), "quality": (0.06, 20.0), "share": (0.03, 6.0)}
MONEY_NOISE = {"fraud_share": (0.08, 15.0), "amount": (0.10, 10.0)}
SYSTEM_NOISE = {"load": (0.02, 3.0), "cpu": (0.02, 3.0), "memory": (0.004, 10.0), "size": (0.03, 5.0)}

# The processor time of the program that makes the load: without load, and for the load that all agents can take.
GENERATOR_IDLE, GENERATOR_BUSY = 0.08, 0.84


class Endpoint(NamedTuple):
    """A name under which the simulated users send requests."""

    name: str
    method: str
    share: float
    """Of all requests."""
    slowness: float
    """Its average response time compared with the others."""
    frailty: float
    """How often it fails compared with the others."""
    suffers: float
    """How much it suffers from the failing agent, in response time and errors."""
    bytes: int
    """The size of an answer."""


ENDPOINTS = (
    Endpoint("/api/decisions", "POST", 0.44, 1.0, 1.0, 2.5, 5_200),
    Endpoint("/api/transactions/[id]", "GET", 0.25, 0.5, 0.4, 0.0, 7_400),
    Endpoint("/api/accounts/[id]", "GET", 0.16, 0.4, 0.3, 0.0, 9_800),
    Endpoint("/api/disputes", "POST", 0.07, 1.7, 1.6, 1.0, 2_600),
    Endpoint("/login", "POST", 0.05, 1.3, 0.8, 0.0, 3_100),
    Endpoint("/api/reports/daily", "GET", 0.03, 4.5, 3.0, 0.0, 148_000),
)
"""The shares add up to 1."""


class Cause(NamedTuple):
    """A reason of failed requests, and how much of them it has: always, of the failing agent, and of too much load."""

    message: str
    usual: float
    of_illness: float
    of_overload: float


CAUSES = (
    Cause("HTTP 500: the model did not answer", 1.0, 12.0, 0.0),
    Cause("HTTP 503: the queue is full", 0.2, 1.0, 14.0),
    Cause("timeout after 2 s", 0.4, 4.0, 6.0),
    Cause("HTTP 409: decided already", 0.6, 0.0, 0.0),
)
OVERLOAD_FROM = 0.8
"""The share of what all agents can do from which on requests fail because of too much load."""

BASELINE_COST = 0.19
"""Dollars that one transaction cost before (rules and manual review)."""
BASELINE_RESPONSE_MS = 180.0
BASELINE_FRAUD_SHARE = 0.006
"""The share of transactions that are attempted fraud, around which the present share wanders."""
FRAUD_DOLLARS = 95.0
INVESTMENT = 2_400_000.0
MONTHLY_TRANSACTIONS = 1_500_000
MAX_PAYBACK_MONTHS = 120.0

COST_SHARES = {"bedrock": 0.52, "lambda": 0.19, "dynamodb": 0.14, "ecs": 0.09, "cloudwatch": 0.06}
"""What the money is spent on; the shares add up to 1."""

COMPETITORS: dict[str, tuple[float, bool]] = {
    "throughput_tps": (0.45, True),
    "avg_response_time_ms": (145.0, False),
    "p99_response_time_ms": (620.0, False),
    "error_rate": (0.012, False),
    "cost_per_transaction": (0.17, False),
    "fraud_detection_accuracy": (0.962, True),
}
"""Field → the average of the competitors, and whether more is better; throughput as a share of the test's capacity."""


class Moment(NamedTuple):
    """What the scenario says of one instant."""

    cycle: int
    phase: Phase
    load: float
    illness: float
    failing_agent: int
    """The index of the agent that fails in this cycle."""


def moment_at(elapsed_seconds: float, *, seed: int, agents: int, duration_seconds: float) -> Moment:
    """Return the moment `elapsed_seconds` after the start; with a duration of 0 the cycle repeats, else it stops."""
    if duration_seconds > 0:
        cycle, share = 0, min(1.0, elapsed_seconds / duration_seconds)
    else:
        cycle = int(elapsed_seconds // CYCLE_SECONDS)
        share = elapsed_seconds / CYCLE_SECONDS - cycle
    # From the seed and the cycle alone, so that it does not matter when and how often this is called.
    chance = random.Random(f"{seed}/{cycle}")  # noqa: S311
    failing_agent = chance.randrange(agents)
    peak = chance.uniform(*PEAK_LOAD)
    load = tuple((row.at, peak if row.load == PEAK else row.load) for row in SCENARIO if row.load is not None)
    illness = tuple((row.at, row.illness) for row in SCENARIO if row.illness is not None)
    phase = SCENARIO[bisect_right(SCENARIO, share, key=lambda row: row.at) - 1].phase
    return Moment(cycle, phase, _interpolate(load, share), _interpolate(illness, share), failing_agent)


def _interpolate(points: Curve, at: float) -> float:
    """Return the value at `at` between the points, eased in and out."""
    for (left, before), (right, after) in pairwise(points):
        if at < right:
            share = (at - left) / (right - left)
            return before + (after - before) * share * share * (3 - 2 * share)
    return points[-1][1]
