"""Which sketches of a metric are found, and which percentiles they give."""

import json

import pytest

from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.core.series.sketch_columns import SketchColumns, sketches_in

GOOD = {"accuracy": 0.01, "bins": {"231": 5}, "max": 102.0}


def sketch_of(*values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"tps": 1}, {}),
        ({"sketches": {"ms": GOOD, "bad": {"bins": {}}, "worse": 7}}, {None: ["ms"]}),
        ({"sketches": 7, "cost": {"sketches": {"ms": GOOD}}}, {None: ["cost.ms"]}),
        ([{"agent_id": 7, "sketches": {"ms": GOOD}}, {"agent_id": "b"}, 5], {"agent_id=7": ["ms"]}),
        (
            {"sketches": {"ms": GOOD}, "agents": {"a": {"sketches": {"s": GOOD}}, "b": 5}},
            {None: ["ms"], "agent_id=a": ["s"]},
        ),
        ({"agents": [{"agent_id": "a", "sketches": {"ms": GOOD}}, {"sketches": {"ms": GOOD}}]}, {"agent_id=a": ["ms"]}),
        ('a text with "sketches"', {}),
    ],
)
def test_every_sketch_is_found_and_nothing_else(data, expected):
    found = sketches_in(json.dumps({"data": data}).encode())
    assert {row: list(named) for row, named in found} == expected


def test_body_that_is_no_metric_has_no_sketches():
    assert sketches_in(b'{"sketches"') == []


def test_percentile_is_given_if_every_value_came_with_its_sketch():
    columns = SketchColumns()
    columns.add("ms", 1, sketch_of(*range(1, 51)).encode())
    columns.add("ms", 1, sketch_of(*range(51, 101)).encode())
    columns.add("ms", 2, sketch_of(7.0).encode())
    columns.add("of.ms", 2, sketch_of(9.0).encode())
    columns.add("of.ms", 2, sketch_of(9.0).encode())
    assert columns.percentiles("p95_ms", [1], [2], [0.0]) == [pytest.approx(96, rel=0.011)]
    assert columns.percentiles("p999_ms", [1], [2], [0.0]) == [pytest.approx(100, rel=0.011)]
    assert columns.percentiles("of.p50_ms", [2], [2], [0.0]) == [pytest.approx(9, rel=0.011)]
    assert columns.percentiles("p95_ms", [1], [3], [0.0]) is None
    assert columns.percentiles("p95_ms", [1, 3], [2, 2], [0.0, 0.0]) is None
    assert columns.percentiles("p95_other", [1], [2], [0.0]) is None
    assert columns.percentiles("max_ms", [1], [2], [0.0]) is None
    assert columns.percentiles("pct1ms", [1], [2], [0.0]) is None


def test_a_single_value_is_the_percentile_of_its_bucket_as_it_was_published():
    columns = SketchColumns()
    columns.add("ms", 1, sketch_of(7.0).encode())
    columns.add("ms", 2, sketch_of(5.0).encode())
    columns.add("ms", 2, sketch_of(5.0).encode())
    found = columns.percentiles("p95_ms", [1, 2, 3], [1, 2, 1], [150.0, 140.0, 130.0])
    assert found == [150.0, pytest.approx(5, rel=0.011), 130.0]


def test_merging_does_not_change_the_merged_sketches():
    narrow, wide = SketchColumns(), SketchColumns()
    for bucket, value in ((9, 1.0), (10, 5.0), (19, 6.0)):
        narrow.add("ms", bucket, sketch_of(value))
    before = narrow.packed()
    wide.merge(narrow, factor=10)
    wide.merge(narrow, factor=10)
    assert wide.percentiles("p50_ms", [0, 1], [2, 4], [0.0, 0.0]) == [
        pytest.approx(1, rel=0.011),
        pytest.approx(6, rel=0.011),
    ]
    assert narrow.packed() == before
    wide.drop(1, 2)
    assert wide.percentiles("p50_ms", [0], [2], [0.0]) is not None
    assert wide.percentiles("p50_ms", [1], [4], [0.0]) is None


def test_names_are_bounded():
    columns = SketchColumns()
    for number in range(200):
        columns.add(f"ms_{number}", 1, sketch_of(1.0))
    assert len(columns.packed()) == 100
