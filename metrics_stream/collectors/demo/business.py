"""The money of the simulated stress test: what the transactions cost, and which fraud was stopped.

Totals are sums over the steps, in whole cents, so that every share adds up to its total.
"""

from __future__ import annotations

import random
from typing import Any

from metrics_stream.collectors.demo import scenario
from metrics_stream.collectors.demo.noise import Noise


class Ledger:
    """The running totals of the business side."""

    def __init__(self, chance: random.Random, capacity_tps: float) -> None:
        self._capacity_tps = capacity_tps
        self._noise = Noise(chance, scenario.MONEY_NOISE)
        self._transactions = 0
        self._fraud = self._cost = 0.0
        self._fraud_cents = 0

    @property
    def fraud_share(self) -> float:
        """Return the share of transactions that are attempted fraud at present."""
        return scenario.BASELINE_FRAUD_SHARE * (1 + self._noise["fraud_share"])

    def advance(
        self, seconds: float, system: dict[str, Any], *, accuracy: float, misses: float, alarms: float, slow: float
    ) -> dict[str, Any]:
        """Return the `business` metric after `seconds`.

        `misses` is the share of fraud not detected, `alarms` that of good transactions called fraud, and `slow` that
        of responses that a customer notices as slow.
        """
        self._noise.advance("fraud_share", seconds)
        transactions = system["requests_successful"]
        new_transactions, self._transactions = transactions - self._transactions, transactions
        per_second = round(system["throughput_tps"] * (1 - system["error_rate"]), 2)

        # Machines cost the same when idle, so a transaction is cheap under load and expensive without.
        unit_cost = round(0.062 + 0.022 / max(0.1, per_second / self._capacity_tps), 6)
        self._cost += new_transactions * unit_cost
        costs = {name: int(self._cost * share * 100) / 100 for name, share in scenario.COST_SHARES.items()}
        total_cost = round(sum(costs.values()), 2)

        already_detected = int(self._fraud)
        self._fraud += new_transactions * self.fraud_share * (1 - misses)
        fraud_detected = int(self._fraud)
        amount = scenario.FRAUD_DOLLARS * (1 + self._noise.advance("amount", seconds))
        self._fraud_cents += round((fraud_detected - already_detected) * amount * 100)
        fraud_prevented = self._fraud_cents / 100
        money_saved = round(fraud_prevented + transactions * scenario.BASELINE_COST, 2)
        speed = scenario.BASELINE_RESPONSE_MS / system["avg_response_time_ms"]
        return {
            "transactions_processed": transactions,
            "transactions_per_second": per_second,
            "fraud_detected": fraud_detected,
            "fraud_prevented_amount": fraud_prevented,
            "fraud_detection_rate": round(1 - misses, 5),
            "fraud_detection_accuracy": round(accuracy, 5),
            "cost_per_transaction": unit_cost,
            "total_cost": total_cost,
            "roi_percentage": roi_percentage(money_saved, total_cost),
            "money_saved": money_saved,
            "payback_period_months": _payback_months(money_saved - total_cost, transactions),
            "customer_impact_score": round(min(1.0, system["error_rate"] + alarms + 0.5 * slow), 5),
            "false_positive_impact": round(alarms, 5),
            "performance_vs_baseline": round(speed, 4),
            "cost_vs_baseline": round(unit_cost / scenario.BASELINE_COST, 4),
            "aws_cost_breakdown": costs,
        }


def hero(system: dict[str, Any], business: dict[str, Any]) -> dict[str, Any]:
    """Return the `hero` metric: the few large numbers of a step."""
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


def roi_percentage(money_saved: float, total_cost: float) -> float:
    """Return the net gain in per cent of the cost; 0 as long as nothing was spent."""
    return round(100 * (money_saved - total_cost) / total_cost, 2) if total_cost else 0.0


def _payback_months(net_gain: float, transactions: int) -> float:
    """Return after how many months of production the investment is back, at this test's gain per transaction."""
    monthly_gain = net_gain / transactions * scenario.MONTHLY_TRANSACTIONS if transactions else 0.0
    if monthly_gain * scenario.MAX_PAYBACK_MONTHS <= scenario.INVESTMENT:
        return scenario.MAX_PAYBACK_MONTHS
    return round(scenario.INVESTMENT / monthly_gain, 2)
