"""The budget of rows, and the row into which what is past it is folded."""

import json

import pytest

from metrics_stream.core.metrics.budget import FORGET_SECONDS, RowBudget
from metrics_stream.core.metrics.catalogue import AGENT, REQUEST
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.row_sums import add_up
from metrics_stream.core.metrics.sketch import Sketch


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def requests(numbers, source="vm", **fields):
    rows = [{"name": f"/{number}", "method": "GET", "requests_total": 1, **fields} for number in numbers]
    return encode_metric(REQUEST, rows, timestamp=1.0, source=source, max_bytes=1_000_000)


def names(metric):
    return [row["name"] for row in json.loads(metric.body)["data"]]


def test_rows_past_the_budget_of_a_source_go_into_one_row():
    budget = RowBudget(Clock(), source_rows=3)
    [first], overflows = budget.apply([requests(range(5), throughput_tps=2.0, status="ok")])
    assert names(first) == ["/0", "/1", "/2", "(other)"]
    assert first.rows == (*(f"name=/{n}\x1fmethod=GET" for n in range(3)), "name=(other)")
    assert json.loads(first.body)["data"][-1] == {
        "name": "(other)",
        "requests_total": 2,
        "throughput_tps": 4.0,
        "folded_rows": 2,
    }
    assert json.loads(first.body)["key"] == list(REQUEST.key)
    [overflow] = overflows
    assert (overflow.rows, str(overflow)) == (
        2,
        "2 more rows of request from vm are in the row (other); allowed: at most 2,000 for each source and 10,000 for "
        "each token",
    )
    # The rows that came first stay, and another source has a budget of its own.
    [again, other], _ = budget.apply([requests([9, 2]), requests([9], source="w")])
    assert (names(again), names(other)) == (["/2", "(other)"], ["/9"])


def test_a_token_has_a_budget_over_all_sources():
    budget = RowBudget(Clock(), source_rows=3, token_rows=4)
    first, second, third = budget.apply([requests(range(3), source=name) for name in "abc"])[0]
    assert [names(one) for one in (first, second, third)] == [["/0", "/1", "/2"], ["/0", "(other)"], ["(other)"]]


def test_rows_that_are_silent_give_up_their_places():
    clock = Clock()
    budget = RowBudget(clock, source_rows=2)
    budget.apply([requests([0, 1])])
    clock.now = FORGET_SECONDS
    budget.apply([requests([1])])
    clock.now += 1
    assert names(budget.apply([requests([1, 2, 3])])[0][0]) == ["/1", "/2", "(other)"]


def test_what_a_producer_has_folded_is_added_to():
    other = {"name": "(other)", "requests_total": 5, "folded_rows": 7}
    rows = [{"name": "/0", "method": "GET", "requests_total": 1}, other]
    metric = encode_metric(REQUEST, rows, timestamp=1.0, source="vm", max_bytes=10_000)
    assert RowBudget(Clock(), source_rows=1).apply([metric]) == ([metric], [])
    [folded], _ = RowBudget(Clock(), source_rows=0).apply([metric])
    assert json.loads(folded.body)["data"] == [{"name": "(other)", "requests_total": 6, "folded_rows": 8}]


def test_agents_and_metrics_without_rows_have_no_budget_here():
    agents = encode_metric(AGENT, [{"agent_id": "a"}], timestamp=1.0, source="vm", max_bytes=1_000)
    assert RowBudget(Clock(), source_rows=0, token_rows=0).apply([agents]) == ([agents], [])


def sketch_of(*values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return {"response_time_ms": json.loads(json.dumps({**vars_of(sketch.encode())}))}


def vars_of(encoded):
    return {name: getattr(encoded, name) for name in encoded.__struct_fields__}


def test_fields_are_added_up_by_their_kinds():
    rows = [
        {"requests_total": 30, "requests_failed": 3, "response_time_total_ms": 300, "avg_response_time_ms": 10.0},
        {"requests_total": 10, "requests_failed": 0, "response_time_total_ms": 500, "avg_response_time_ms": 50.0},
    ]
    more = [
        {"max_response_time_ms": 90, "min_response_time_ms": 2, "error_rate": 0.1, "users": 4, "status": "ok"},
        {"max_response_time_ms": 70, "min_response_time_ms": 1, "error_rate": 0.0, "users": 3, "status": "ok"},
    ]
    assert add_up([{**one, **two} for one, two in zip(rows, more, strict=True)]) == {
        "requests_total": 40,
        "requests_failed": 3,
        "response_time_total_ms": 800,
        "max_response_time_ms": 90,
        "min_response_time_ms": 1,
        "users": 7,
        "avg_response_time_ms": 20.0,
        "error_rate": 0.075,
    }


def test_percentiles_come_from_merged_sketches_or_are_left_out():
    slow, fast = sketch_of(*range(1, 101)), sketch_of(*[1] * 100)
    rows = [{"p95_response_time_ms": 95, "sketches": slow}, {"p95_response_time_ms": 1, "sketches": fast}]
    assert add_up(rows)["p95_response_time_ms"] == pytest.approx(91, rel=0.011)
    assert "p95_response_time_ms" not in add_up([rows[0], {"p95_response_time_ms": 1}])
