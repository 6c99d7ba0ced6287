"""What examples/locust_metrics.py makes of the statistics that Locust keeps."""

import json

import pytest

from examples.locust_metrics import (
    SYSTEM_WINDOWS,
    AgentMeter,
    RequestMeter,
    SystemMeter,
    error_rows,
    percentile,
    share,
)
from metrics_stream.broadcast import key_part, make_metric

NOW = 1_796_000_020.5


class Totals:
    """A test of twenty seconds with 56 requests in each, as Locust 2.47 counts."""

    start_time = NOW - 20.5
    last_request_timestamp = NOW - 0.1
    num_requests = 1094
    num_failures = 13
    num_reqs_per_sec = dict.fromkeys(range(int(NOW) - 20, int(NOW)), 56) | {int(NOW): 30}
    num_fail_per_sec = {int(NOW) - 5: 6, int(NOW) - 1: 7}
    avg_response_time = 16.164357120648145
    min_response_time = 1.25
    max_response_time = 190.1370779996796
    total_content_length = 5470
    total_response_time = 17683.80669
    response_times = {12: 900, 67: 170, 140: 20, 190: 4}

    def __init__(self, **values):
        vars(self).update(values)


def test_locusts_totals_are_system_metrics():
    data = SystemMeter().take(Totals(), users=20, now=NOW)
    sketch = data.pop("sketches")["response_time_ms"]
    assert data == {
        "throughput_tps": 56.0,
        "requests_total": 1094,
        "requests_successful": 1081,
        "requests_failed": 13,
        "avg_response_time_ms": 16.164357120648145,
        "p50_response_time_ms": pytest.approx(12, rel=0.01),
        "p95_response_time_ms": pytest.approx(67, rel=0.01),
        "p99_response_time_ms": pytest.approx(140, rel=0.01),
        "min_response_time_ms": 1.25,
        "max_response_time_ms": 190.1370779996796,
        "response_time_total_ms": 17683.80669,
        "received_bytes_total": 5470,
        "elapsed_seconds": pytest.approx(20.4),
        "error_rate": 6 / 560,
        "users": 20,
    }
    assert (sum(sketch.bins.values()), sketch.max) == (1094, 190)


def test_while_nothing_is_answered_the_throughput_falls_and_other_numbers_of_the_moment_end():
    meter, totals = SystemMeter(), Totals(last_request_timestamp=NOW - 7.0)
    data = meter.take(totals, users=20, now=NOW + 6.0)
    assert (data["throughput_tps"], data["error_rate"]) == ((6 * 56 + 30) / 10, 13 / (6 * 56 + 30))
    data = meter.take(totals, users=20, now=NOW + 12.0)
    assert [data[name] for name in ("throughput_tps", "error_rate")] == [3.0, 0.0]
    for _ in range(9):
        data = meter.take(totals, users=20, now=NOW + 12.0)
    assert data["p50_response_time_ms"] is None  # the sketches of ten seconds are empty
    data = meter.take(totals, users=20, now=NOW + 60.0)
    assert [data[name] for name in ("throughput_tps", "error_rate", "p99_response_time_ms")] == [0.0, None, None]
    assert (data["requests_total"], data["avg_response_time_ms"]) == (1094, 16.164357120648145)


def test_what_workers_have_yet_to_report_is_no_lack_of_answers():
    totals = Totals(last_request_timestamp=NOW - 3.5)
    assert SystemMeter(report_seconds=4.0).take(totals, users=20, now=NOW)["throughput_tps"] == 56.0


def test_before_the_first_answer_nothing_is_said_of_it():
    nothing = {"num_requests": 0, "num_failures": 0, "avg_response_time": 0.0, "max_response_time": 0}
    nothing |= {"total_response_time": 0, "min_response_time": None, "total_content_length": 0}
    totals = Totals(start_time=NOW - 1, last_request_timestamp=None, num_reqs_per_sec={}, response_times={}, **nothing)
    data = SystemMeter().take(totals, users=3, now=NOW)
    assert {name for name, value in data.items() if value is None} == {
        *("throughput_tps", "error_rate", "avg_response_time_ms", "max_response_time_ms", "min_response_time_ms"),
        *("p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms"),
    }


def test_each_response_time_is_in_one_sketch():
    meter = SystemMeter()

    def new(response_times):
        data = meter.take(Totals(response_times=response_times), users=1, now=NOW)
        return sum(data["sketches"]["response_time_ms"].bins.values())

    assert [new({50: 3}), new({50: 4, 60: 2}), new({50: 4, 60: 2})] == [3, 3, 0]
    assert new({50: 2}) == 2  # --reset-stats


def test_each_of_locusts_entries_is_a_row_of_requests():
    entries = {("/", "GET"): Totals(), ("/pay/" + 300 * "x", "POST"): Totals(num_requests=6, response_times={40: 6})}
    meter, seconds = RequestMeter(), range(int(NOW) - 12, int(NOW) - 2)
    first, second = meter.take(entries, seconds)
    assert (first["name"], first["method"], first["requests_total"]) == ("/", "GET", 1094)
    assert (first["throughput_tps"], first["error_rate"]) == (56.0, 6 / 560)
    assert first["p99_response_time_ms"] == pytest.approx(140, rel=0.01)
    assert (second["name"], second["method"]) == (key_part("/pay/" + 300 * "x"), "POST")
    assert sum(second["sketches"]["response_time_ms"].bins.values()) == 6
    again, _ = meter.take(entries, seconds)
    assert again["sketches"]["response_time_ms"].bins == {}
    rows = [row | {"sketches": {}} for row in (first, second)]
    metric = make_metric("request", [first, second], source="locust", windows=SYSTEM_WINDOWS)
    assert [row | {"sketches": {}} for row in json.loads(metric.body)["data"]] == rows


def test_each_of_locusts_errors_is_a_row():
    errors = [
        {"method": "POST", "name": "/pay", "error": "ValueError('declined\n')", "occurrences": 7, "last_seen": NOW},
        {"method": "", "name": "/old", "error": "timeout", "occurrences": 1},
    ]
    rows = error_rows(errors)
    assert rows == [
        {
            **{"name": "/pay", "method": "POST", "message": "ValueError('declined ')", "occurrences_total": 7},
            "last_at": "2026-11-30T00:53:40.500000+00:00",
        },
        {"name": "/old", "method": "(none)", "message": "timeout", "occurrences_total": 1, "last_at": None},
    ]
    assert json.loads(make_metric("error", rows, source="locust").body)["data"] == rows


def test_an_agent_has_its_totals_and_what_is_new():
    meter = AgentMeter("Visitor")
    for response_time_ms in range(1, 100):
        meter.count(float(response_time_ms), None)
    meter.count(5000.0, TimeoutError("too late"))
    first = meter.take(users=10)
    sketch = first.pop("sketches")["response_time_ms"]
    assert first == {
        "agent_id": "Visitor",
        "agent_name": "Visitor",
        "requests_processed": 100,
        "avg_response_time_ms": 99.5,
        "p95_response_time_ms": 96.0,
        "p99_response_time_ms": 5000.0,
        "success_rate": 0.99,
        "error_count": 1,
        "timeout_count": 1,
        "status": "degraded",
        "users": 10,
    }
    assert (sum(sketch.bins.values()), sketch.max) == (100, 5000.0)
    meter.count(8.0, None)
    after = meter.take(users=10)
    assert (after["requests_processed"], after["error_count"], after["timeout_count"]) == (101, 1, 1)
    assert (after["avg_response_time_ms"], after["success_rate"]) == (8.0, 1 - 1 / 101)


def test_an_agent_that_asks_seldom_is_judged_by_its_last_ten_intervals():
    meter = AgentMeter("Buyer")
    assert (meter.take(users=1)["status"], meter.take(users=1)["success_rate"]) == ("healthy", None)
    meter.count(8.0, ValueError("no page"))
    taken = [meter.take(users=1) for _ in range(11)]
    assert [entry["success_rate"] for entry in taken] == [0.0] * 10 + [None]
    assert {entry["status"] for entry in taken} == {"unhealthy"}  # until it has an answer
    meter.count(8.0, None)
    assert meter.take(users=1)["status"] == "healthy"


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([], 0.95, None),
        ([7.0], 0.95, 7.0),
        ([1.0, 2.0], 0.49, 1.0),
        ([1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 1.0, 4.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_percentiles(values, part, expected):
    assert percentile(values, part) == expected


def test_a_share_is_a_ratio():
    assert [share(1, 4), share(0, 0), share(0.7, 0.6)] == [0.25, None, 1.0]
