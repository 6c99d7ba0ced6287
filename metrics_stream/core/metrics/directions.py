"""Which direction of a field is good: higher for throughput, lower for latency, none for what only describes.

Pages colour changes by it, and comparisons say whether a run became better. It follows from the name of a field, since
all metric types use a name with one meaning; a declared field can say otherwise.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Good = Literal["higher", "lower", "none"]

_HIGHER = re.compile(
    r"(throughput|achieved)_tps|(transactions|requests)_per_second|requests_successful|success_rate|health_score"
    r"|(decision|fraud_detection|ai)_accuracy|fraud_detection_rate|fraud_(detected|blocked|prevented_amount)"
    r"|ai_confidence|customer_satisfaction|money_saved|roi_percentage|uptime_percentage|performance_vs_baseline"
    r"|transactions_processed|total_transactions"
)
_LOWER = re.compile(
    r"(.+_)?(response_time|latency|lag|duration)(_p\d+)?_ms|(age|flush|loop_lag)_p\d+_ms|clock_skew_\w+_ms"
    r"|(error|timeout|failure|false_positive|false_negative)_rate|(error|timeout)_count|requests_failed|queue_depth"
    r"|occurrences_total|dropped_\w+|\w+_dropped(_\w+)?|gaps_per_second|slow_clients_closed|refused_clients"
    r"|protocol_errors|bus_failures|sources_with_\w+|generator_queue_depth|false_positive_impact"
    r"|customer_impact_score|cost_per_transaction|total_cost|cost_vs_baseline|payback_period_months"
)


@lru_cache(maxsize=10_000)
def direction_of(path: str) -> Good:
    """Return which direction of the field at a dotted path is good, as its name says."""
    name = path.rpartition(".")[2]
    if _HIGHER.fullmatch(name):
        return "higher"
    # A sum of response times grows with each request, which says nothing.
    return "lower" if _LOWER.fullmatch(name) else "none"
