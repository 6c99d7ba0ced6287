"""Which direction of a field is good."""

import pytest

from metrics_stream.core.metrics.catalogue import SYSTEM, Field
from metrics_stream.core.metrics.directions import direction_of


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("throughput_tps", "higher"),
        ("transactions_per_second", "higher"),
        ("success_rate", "higher"),
        ("our_performance.throughput_tps", "higher"),
        ("avg_response_time_ms", "lower"),
        ("p99_response_time_ms", "lower"),
        ("max_response_time_ms", "lower"),
        ("queue_latency_ms", "lower"),
        ("error_rate", "lower"),
        ("requests_failed", "lower"),
        ("metrics_dropped_per_second", "lower"),
        ("generator_dropped_metrics", "lower"),
        ("occurrences_total", "lower"),
        ("cost_per_transaction", "lower"),
        ("requests_total", "none"),
        ("response_time_total_ms", "none"),
        ("users", "none"),
        ("cpu_utilization", "none"),
        ("status", "none"),
    ],
)
def test_the_name_says_it(path, good):
    assert direction_of(path) == good


def test_a_field_can_say_otherwise():
    field = Field("error_rate", "Errors found", "ratio", "gauge", good="higher")
    assert field.describe()["good"] == "higher"
    known = SYSTEM.field("error_rate")
    assert known is not None
    assert known.describe()["good"] == "lower"
