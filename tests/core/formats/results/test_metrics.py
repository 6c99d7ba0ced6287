"""The metrics that an import makes of a result file."""

import pytest

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure, Results, Totals
from metrics_stream.core.formats.results.metrics import span_of, system_metrics
from metrics_stream.core.formats.results.reading import read_results
from metrics_stream.core.metrics.sketch import Sketch
from tests.core.formats.results.test_reading import load

NOTHING_YET = {"requests_total": 0, "requests_successful": 0, "requests_failed": 0, "elapsed_seconds": 0.0}


def data(results: Results, started_at: float, ended_at: float) -> list[tuple[float, dict]]:
    return [(item["timestamp"], item["data"]) for item in system_metrics(results, started_at, ended_at)]


def test_totals_are_one_metric_at_the_end():
    first, last = data(read_results(load("hey.txt")), 100.0, 100.4309)
    assert first == (100.0, NOTHING_YET)
    assert last == (
        100.4309,
        {
            **{"requests_total": 200, "requests_successful": 164, "requests_failed": 36, "error_rate": 0.18},
            **{"throughput_tps": 464.1831, "avg_response_time_ms": 7.9, "min_response_time_ms": 1.2},
            **{"max_response_time_ms": 60.400000000000006, "p10_response_time_ms": 1.5, "p25_response_time_ms": 2.3},
            **{"p50_response_time_ms": 3.3, "p75_response_time_ms": 7.7, "p90_response_time_ms": 21.2},
            **{"p95_response_time_ms": 21.7, "p99_response_time_ms": 47.1, "elapsed_seconds": pytest.approx(0.4309)},
        },
    )


@pytest.mark.parametrize(
    ("percent", "name"),
    [(1.0, "p01"), (2.5, "p025"), (50.0, "p50"), (97.5, "p975"), (99.9, "p999"), (99.999, "p99999"), (100.0, "p100")],
)
def test_a_percentile_has_the_name_that_fields_have(percent, name):
    results = Results(format="ab", totals=Totals(requests=1, failures=0, percentiles_ms={percent: Figure(5.0)}))
    *_, last = system_metrics(results, 0.0, 4.0)
    assert last["data"][f"{name}_response_time_ms"] == 5.0
    assert last["windows"] == {f"{name}_response_time_ms": 4.0, "error_rate": 4.0}


def test_the_course_of_a_test_counts_up_and_has_sketches():
    results = read_results(load("jmeter.csv"))
    found = data(results, *span_of(results, ended_at=0.0))
    assert [at for at, _ in found] == [1795946400.0, 1795946401.0, 1795946402.0, 1795946402.0]
    assert [(row["requests_total"], row.get("throughput_tps")) for _, row in found] == [
        *((0, None), (2, 2.0), (2, 0.0), (3, 1.0)),
    ]
    assert [row["elapsed_seconds"] for _, row in found] == [0.0, 1.0, 2.0, 2.0]
    assert (found[1][1]["avg_response_time_ms"], found[1][1]["error_rate"]) == (200.0, 0.5)
    first, second, *_ = system_metrics(results, *span_of(results, ended_at=0.0))
    assert "windows" not in first
    assert set(second["windows"].values()) == {1.0}
    merged = Sketch()
    for _, row in found:
        merged.merge(row["sketches"]["response_time_ms"])
    assert (len(merged), merged.quantile(1.0)) == (3, pytest.approx(500.0, rel=0.01))


def test_what_ended_before_the_file_counts_from_is_within_the_run():
    results = read_results(load("hey.csv"))
    span = span_of(results, ended_at=1000.0)
    assert span == (1000.0 - 0.2444, 1000.0)
    assert all(span[0] <= at <= span[1] for at, _ in data(results, *span))


def test_the_span_is_that_of_the_file_or_is_calculated():
    known = read_results(load("artillery.json"))
    assert span_of(known, ended_at=5.0, started_at=1.0) == (1795946346.863, 1795946350.887)
    k6 = read_results(load("k6_machine_readable.json"))
    assert span_of(k6, ended_at=5.0) == (1795946396.5, 1795946400.5)
    siege = read_results(load("siege.json"))
    assert span_of(siege, ended_at=5.0) == (5.0 - 0.13, 5.0)
    assert span_of(siege, ended_at=5.0, started_at=1.0) == (1.0, 1.13)
    with pytest.raises(ResultFileError, match="does not say how long the test took; give its start and its end"):
        span_of(read_results(load("ab.csv")), ended_at=5.0)


def test_a_test_without_requests_has_a_length():
    results = read_results(load("artillery_refused.json"))
    assert data(results, 1.0, 2.0)[-1][1]["requests_failed"] == 3
    none = Results(format="hey", totals=Totals(requests=0, failures=0, duration_seconds=Figure(0.0)))
    assert span_of(none, ended_at=5.0) == (4.999, 5.0)
    assert data(none, 4.999, 5.0)[-1][1] == {
        **NOTHING_YET,
        **{"error_rate": None, "elapsed_seconds": pytest.approx(0.001)},
    }
