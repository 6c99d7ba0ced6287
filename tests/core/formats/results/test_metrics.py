"""The metrics that an import makes of a result file."""

import pytest

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure, Results, Totals
from metrics_stream.core.formats.results.metrics import Span, span_of, system_metrics
from metrics_stream.core.formats.results.reading import read_results
from metrics_stream.core.metrics.sketch import Sketch
from tests.core.formats.results.test_reading import load

NOTHING_YET = {"requests_total": 0, "requests_successful": 0, "requests_failed": 0, "elapsed_seconds": 0.0}


def data(results: Results, span: Span) -> list[tuple[float, dict]]:
    return [(item["timestamp"], item["data"]) for item in system_metrics(results, span)]


def find_span(results: Results, started_at: float | None = None, ended_at: float | None = None) -> Span:
    return span_of(results, started_at=started_at, ended_at=ended_at, written_at=1000.0)


def test_totals_are_one_metric_at_the_end():
    first, last = data(read_results(load("hey.txt")), Span(100.0, 100.4309, 0.43))
    assert first == (100.0, NOTHING_YET)
    assert last == (
        100.4309,
        {
            **{"requests_total": 200, "requests_successful": 164, "requests_failed": 36, "error_rate": 0.18},
            **{"throughput_tps": 464.1831, "avg_response_time_ms": 7.9, "min_response_time_ms": 1.2},
            **{"max_response_time_ms": 60.400000000000006, "p10_response_time_ms": 1.5, "p25_response_time_ms": 2.3},
            **{"p50_response_time_ms": 3.3, "p75_response_time_ms": 7.7, "p90_response_time_ms": 21.2},
            **{"p95_response_time_ms": 21.7, "p99_response_time_ms": 47.1, "elapsed_seconds": 0.43},
        },
    )


@pytest.mark.parametrize(
    ("percent", "name"),
    [(1.0, "p01"), (2.5, "p025"), (50.0, "p50"), (97.5, "p975"), (99.9, "p999"), (99.999, "p99999"), (100.0, "p100")],
)
def test_a_percentile_has_the_name_that_fields_have(percent, name):
    results = Results(format="ab", totals=Totals(requests=1, failures=0, percentiles_ms={percent: Figure(5.0)}))
    *_, last = system_metrics(results, Span(0.0, 4.0, 4.0))
    assert last["data"][f"{name}_response_time_ms"] == 5.0
    assert last["windows"] == {f"{name}_response_time_ms": 4.0, "error_rate": 4.0}


def test_the_course_of_a_test_counts_up_and_has_sketches():
    results = read_results(load("jmeter.csv"))
    found = data(results, find_span(results))
    assert [at for at, _ in found] == [1795946400.0, 1795946401.0, 1795946402.0, 1795946402.0]
    assert [(row["requests_total"], row.get("throughput_tps")) for _, row in found] == [
        *((0, None), (2, 2.0), (2, 0.0), (3, 1.0)),
    ]
    assert [row["elapsed_seconds"] for _, row in found] == [0.0, 1.0, 2.0, 2.0]
    assert (found[1][1]["avg_response_time_ms"], found[1][1]["error_rate"]) == (200.0, 0.5)
    first, second, *_ = system_metrics(results, find_span(results))
    assert "windows" not in first
    assert set(second["windows"].values()) == {1.0}
    merged = Sketch()
    for _, row in found:
        merged.merge(row["sketches"]["response_time_ms"])
    assert (len(merged), merged.quantile(1.0)) == (3, pytest.approx(500.0, rel=0.01))


def test_what_ended_before_the_file_counts_from_is_within_the_run():
    results = read_results(load("hey.csv"))
    span = find_span(results)
    assert span == (1000.0 - 0.2444, 1000.0, pytest.approx(0.2444))
    assert all(span.started_at <= at <= span.ended_at for at, _ in data(results, span))


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("artillery.json", {}, (1795946346.863, 1795946350.887, 4.024)),
        ("artillery.json", {"ended_at": 5.024}, (1.0, 5.024, 4.024)),
        ("k6_machine_readable.json", {}, (1795946396.5, 1795946400.5, 4.0)),
        ("siege.json", {}, (999.87, 1000.0, 0.13)),
        ("siege.json", {"started_at": 1.0}, (1.0, 1.13, 0.13)),
        ("siege.json", {"started_at": 1.0, "ended_at": 3.0}, (1.0, 3.0, 0.13)),
        # The rate tells more of the duration than its two decimals.
        ("ab.txt", {"started_at": 1.0}, (1.0, 1 + 200 / 520.27, 200 / 520.27)),
        ("ab.csv", {"started_at": 1.0, "ended_at": 3.0}, (1.0, 3.0, 2.0)),
    ],
)
def test_the_span_is_what_is_given_or_what_the_file_says_or_is_calculated(name, given, expected):
    assert find_span(read_results(load(name)), **given) == pytest.approx(expected, abs=1e-6)


def test_a_span_needs_a_duration():
    with pytest.raises(ResultFileError, match="does not say how long the test took; give its start and its end"):
        find_span(read_results(load("ab.csv")), started_at=1.0)


AUTOCANNON, MACHINE_READABLE = load("autocannon.json"), load("k6_machine_readable.json")


@pytest.mark.parametrize(
    ("content", "given"),
    [
        (load("ab.txt"), {"started_at": 3.0, "ended_at": 1.0}),
        (load("jmeter.csv"), {"started_at": 3.0, "ended_at": 1.0}),
        (AUTOCANNON.replace(b"09:58:34.822Z", b"09:58:32.814Z"), {}),
    ],
    ids=["given", "given against the file", "autocannon"],
)
def test_an_end_before_the_start_is_refused(content, given):
    words = r"the test ended at \S+Z, before its start at \S+Z; allowed: an end after the start"
    with pytest.raises(ResultFileError, match=words):
        find_span(read_results(content), **given)


@pytest.mark.parametrize("text", ["2026-11-29 09:58:32.815", "2026-11-29T10:58:32.815 +01:00", "1795946312815"])
def test_instants_of_files_are_read_as_at_every_door(text):
    found = read_results(AUTOCANNON.replace(b"2026-11-29T09:58:32.815Z", text.encode()))
    assert found.started_at == 1795946312.815
    found = read_results(MACHINE_READABLE.replace(b"2026-11-29T10:00:00.5Z", text.encode()))
    assert found.ended_at == 1795946312.815


@pytest.mark.parametrize("text", ["yesterday", "1905-11-29T09:58:32Z"])
def test_what_is_no_instant_is_refused(text):
    for content, instant, what in (
        (AUTOCANNON, b"2026-11-29T09:58:32.815Z", "start"),
        (MACHINE_READABLE, b"2026-11-29T10:00:00.5Z", "generatedAt"),
    ):
        with pytest.raises(ResultFileError, match=f"{what} is '{text}'; allowed: a datetime, ISO 8601 such as"):
            read_results(content.replace(instant, text.encode()))


def test_a_test_without_requests_has_a_length():
    results = read_results(load("artillery_refused.json"))
    assert data(results, Span(1.0, 2.0, 1.0))[-1][1]["requests_failed"] == 3
    none = Results(format="hey", totals=Totals(requests=0, failures=0, duration_seconds=Figure(0.0)))
    assert find_span(none) == (999.999, 1000.0, 0.001)
    assert data(none, find_span(none))[-1][1] == {**NOTHING_YET, "error_rate": None, "elapsed_seconds": 0.001}
