"""The money of the simulated stress test: what the transactions were worth, what they cost, what fraud was stopped.

Part of the demo; pure. Totals are sums over the steps, in whole cents, so that every share adds up to its total.
"""

from __future__ import annotations

import random
from typing import Any

from metrics_stream.collectors.demo.agents import Wander

BASELINE_COST = 0.19
"""Dollars that one transaction cost before (rules and manual review)."""

BASELINE_RESPONSE_MS = 180.0
BASELINE_FRAUD_SHARE = 0.006
"""The share of transactions that are attempted fraud, around which the present one wanders."""

COST_SHARES = {"bedrock": 0.52, "lambda": 0.19, "dynamodb": 0.14, "ecs": 0.09, "cloudwatch": 0.06}
"""What the money goes to; adds up to 1."""

_INVESTMENT = 2_400_000.0
_MONTHLY_TRANSACTIONS = 1_500_000
_MAX_PAYBACK_MONTHS = 120.0


class Ledger:
    """The running totals of the business side."""

    def __init__(self, chance: random.Random, capacity_tps: float) -> None:
        self._capacity_tps = capacity_tps
        self._fraud_share_noise = Wander(chance, spread=0.08, memory_seconds=15.0)
        self._amount_noise = Wander(chance, spread=0.10, memory_seconds=10.0)
        self._transactions = 0
        self._fraud = 0.0
        self._fraud_cents = 0
        self._cost = 0.0

    @property
    def fraud_share(self) -> float:
        """Return the share of transactions that are attempted fraud at present."""
        return BASELINE_FRAUD_SHARE * (1 + self._fraud_share_noise.value)

    def advance(
        self,
        seconds: float,
        *,
        transactions: int,
        transactions_per_second: float,
        avg_response_time_ms: float,
        detection_rate: float,
        accuracy: float,
        false_positive_rate: float,
        customer_impact: float,
    ) -> dict[str, Any]:
        """Return the `business` metric after `seconds`; `transactions` is the total since the start."""
        self._fraud_share_noise.advance(seconds)
        new_transactions = transactions - self._transactions
        self._transactions = transactions

        # Machines cost the same when idle, so a transaction is cheap under load and dear without.
        cost_per_transaction = round(0.062 + 0.022 / max(0.1, transactions_per_second / self._capacity_tps), 6)
        self._cost += new_transactions * cost_per_transaction
        costs = {name: int(self._cost * share * 100) / 100 for name, share in COST_SHARES.items()}
        total_cost = round(sum(costs.values()), 2)

        already_detected = int(self._fraud)
        self._fraud += new_transactions * self.fraud_share * detection_rate
        fraud_detected = int(self._fraud)
        amount = 95.0 * (1 + self._amount_noise.advance(seconds))
        self._fraud_cents += round((fraud_detected - already_detected) * amount * 100)
        fraud_prevented = self._fraud_cents / 100

        money_saved = round(fraud_prevented + transactions * BASELINE_COST, 2)
        return {
            "transactions_processed": transactions,
            "transactions_per_second": transactions_per_second,
            "fraud_detected": fraud_detected,
            "fraud_prevented_amount": fraud_prevented,
            "fraud_detection_rate": round(detection_rate, 5),
            "fraud_detection_accuracy": round(accuracy, 5),
            "cost_per_transaction": cost_per_transaction,
            "total_cost": total_cost,
            "roi_percentage": roi_percentage(money_saved, total_cost),
            "money_saved": money_saved,
            "payback_period_months": _payback_months(money_saved - total_cost, transactions),
            "customer_impact_score": round(customer_impact, 5),
            "false_positive_impact": round(false_positive_rate, 5),
            "performance_vs_baseline": round(100 * (BASELINE_RESPONSE_MS / avg_response_time_ms - 1), 2),
            "cost_vs_baseline": round(100 * (cost_per_transaction / BASELINE_COST - 1), 2),
            "aws_cost_breakdown": costs,
        }


def roi_percentage(money_saved: float, total_cost: float) -> float:
    """Return the net gain in per cent of the cost; 0 as long as nothing was spent."""
    return round(100 * (money_saved - total_cost) / total_cost, 2) if total_cost else 0.0


def _payback_months(net_gain: float, transactions: int) -> float:
    """Return after how many months of production the investment is back, at this test's gain per transaction."""
    monthly_gain = net_gain / transactions * _MONTHLY_TRANSACTIONS if transactions else 0.0
    if monthly_gain * _MAX_PAYBACK_MONTHS <= _INVESTMENT:
        return _MAX_PAYBACK_MONTHS
    return round(_INVESTMENT / monthly_gain, 2)
