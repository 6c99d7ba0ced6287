"""Labels for names of the wire."""

import pytest

from metrics_stream.core.metrics.labels import label_of


@pytest.mark.parametrize(
    ("name", "unit", "label"),
    [
        ("memory_available_mb", "MB", "Memory available"),
        ("disk.read_mb_per_second", "MB/s", "Read"),
        ("p99_latency_ms", "ms", "p99 latency"),
        ("memory_available_mb", "", "Memory available mb"),
        ("memory_available_mb", "GB", "Memory available mb"),
        ("GET /api/x", "ms", "GET /api/x"),
    ],
)
def test_label_does_not_repeat_the_unit_that_is_shown_beside_it(name, unit, label):
    assert label_of(name, unit) == label
