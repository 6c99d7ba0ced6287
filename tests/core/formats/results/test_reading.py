"""Result files of load tools as the tools wrote them, those of k6, JMeter and wrk2 as their sources write them."""

import re
from pathlib import Path

import pytest

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure, Totals
from metrics_stream.core.formats.results.reading import FORMATS, read_results

FILES = Path(__file__).parent / "files"


def load(name: str) -> bytes:
    return (FILES / name).read_bytes()


def values(totals: Totals) -> dict[str, object]:
    """Return the figures of a test without their rounding, percentiles by `p50`; without unknown ones."""
    figures = {
        "rate": totals.rate,
        "seconds": totals.duration_seconds,
        "mean": totals.mean_ms,
        "min": totals.min_ms,
        "max": totals.max_ms,
        **{f"p{percent:g}": figure for percent, figure in totals.percentiles_ms.items()},
    }
    found = {name: round(figure.value, 6) for name, figure in figures.items() if figure is not None}
    return {"requests": totals.requests, "failures": totals.failures, **found}


CASES = {
    "ab.txt": (
        "ab",
        {
            **{"requests": 200, "failures": 33, "rate": 520.27, "seconds": 0.384, "mean": 7.0, "min": 1.0, "max": 22.0},
            **{"p50": 3.0, "p66": 4.0, "p75": 20.0, "p80": 21.0, "p90": 21.0, "p95": 22.0, "p98": 22.0, "p99": 22.0},
            "p100": 22.0,
        },
    ),
    "ab_failed.txt": (
        "ab",
        {
            **{"requests": 100, "failures": 9, "rate": 80.0, "seconds": 1.25, "mean": 24.0, "min": 1.0, "max": 1225.0},
            **{"p50": 20.0, "p99": 900.0, "p100": 1225.0},
        },
    ),
    "hey.txt": (
        "hey",
        {
            **{"requests": 200, "failures": 36, "rate": 464.1831, "seconds": 0.4309},
            **{"mean": 7.9, "min": 1.2, "max": 60.4},
            **{"p10": 1.5, "p25": 2.3, "p50": 3.3, "p75": 7.7, "p90": 21.2, "p95": 21.7, "p99": 47.1},
        },
    ),
    "hey_refused.txt": ("hey", {"requests": 20, "failures": 20, "rate": 1961.8714, "seconds": 0.0102}),
    "hey.csv": (
        "hey",
        {
            **{"requests": 60, "failures": 17, "rate": 245.499182, "seconds": 0.2444},
            **{"mean": 7.341667, "min": 1.3, "max": 22.3},
            **{"p50": 3.2, "p75": 20.2, "p90": 21.5, "p95": 21.8, "p99": 22.3, "p99.9": 22.3},
        },
    ),
    "hey_refused.csv": ("hey", {"requests": 0, "failures": 0}),
    "wrk.txt": (
        "wrk",
        {
            **{"requests": 1127, "failures": 242, "rate": 560.77, "seconds": 2.01, "mean": 8.82, "max": 55.27},
            **{"p50": 3.52, "p75": 13.94, "p90": 20.87, "p99": 35.58},
        },
    ),
    "wrk_dropped.txt": ("wrk", {"requests": 271, "failures": 271, "rate": 271.0, "seconds": 1.0}),
    "wrk_long.txt": (
        "wrk",
        {
            **{"requests": 120_000, "failures": 0, "rate": 1000.0, "seconds": 120.0, "mean": 0.92, "max": 64_800.0},
            **{"p50": 0.9, "p75": 0.95, "p90": 1200.0, "p99": 60_000.0},
        },
    ),
    "wrk2.txt": (
        "wrk",
        {
            **{"requests": 6001, "failures": 2, "rate": 92.6, "seconds": 64.8, "mean": 3.05, "max": 41.5},
            **{"p50": 2.61, "p75": 3.4, "p90": 5.14, "p99": 11.18, "p99.9": 31.3, "p99.99": 41.45},
            **{"p99.999": 41.5, "p100": 41.5},
        },
    ),
    "autocannon_refused.json": (
        "autocannon",
        {"requests": 2470, "failures": 2470, "rate": 2421.568627, "seconds": 1.02},
    ),
    "artillery.json": (
        "artillery",
        {
            **{"requests": 120, "failures": 49, "rate": 29.821074, "seconds": 4.024},
            **{"mean": 11.8, "min": 0.0, "max": 62.0},
            **{"p50": 6.0, "p75": 19.1, "p90": 26.8, "p95": 32.1, "p99": 50.9, "p99.9": 54.1},
        },
    ),
    "artillery_refused.json": ("artillery", {"requests": 3, "failures": 3, "rate": 4.398827, "seconds": 0.682}),
    "locust_stats.csv": (
        "locust",
        {
            **{
                "requests": 288,
                "failures": 76,
                "rate": 72.415305,
                "seconds": 3.97706,
                "mean": 55.295857,
                "min": 2.294321,
                "max": 268.127646,
            },
            **{"p50": 14.0, "p66": 27.0, "p75": 36.0, "p80": 110.0, "p90": 210.0, "p95": 230.0, "p98": 240.0},
            **{"p99": 250.0, "p99.9": 270.0, "p99.99": 270.0, "p100": 270.0},
        },
    ),
    "siege.json": (
        "siege",
        {"requests": 20, "failures": 0, "rate": 153.846154, "seconds": 0.13, "mean": 10.0, "min": 0.0, "max": 30.0},
    ),
    "siege.txt": (
        "siege",
        {"requests": 100, "failures": 19, "rate": 294.117647, "seconds": 0.34, "mean": 10.0, "min": 0.0, "max": 40.0},
    ),
    "k6_export.json": (
        "k6",
        {
            **{"requests": 120, "failures": 9, "rate": 30.0, "seconds": 4.0, "mean": 11.5, "min": 2.25, "max": 61.75},
            **{"p50": 6.5, "p90": 26.5, "p95": 32.125, "p99.9": 60.5},
        },
    ),
    "k6_handle_summary.json": (
        "k6",
        {
            **{"requests": 120, "failures": 9, "rate": 29.99625, "seconds": 4.0005},
            **{"mean": 11.5, "min": 2.25, "max": 61.75, "p50": 6.5, "p90": 26.5, "p95": 32.125},
        },
    ),
    "k6_machine_readable.json": (
        "k6",
        {
            **{"requests": 120, "failures": 9, "rate": 30.0, "seconds": 4.0},
            **{"mean": 11.5, "min": 2.25, "max": 61.75, "p50": 6.5, "p90": 26.5, "p95": 32.125},
        },
    ),
    **dict.fromkeys(
        ("jmeter.csv", "jmeter.xml"),
        (
            "jtl",
            {
                **{
                    "requests": 3,
                    "failures": 1,
                    "rate": 1.5,
                    "seconds": 2.0,
                    "mean": 300.0,
                    "min": 100.0,
                    "max": 500.0,
                },
                **{"p50": 300.0, "p75": 500.0, "p90": 500.0, "p95": 500.0, "p99": 500.0, "p99.9": 500.0},
            },
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_figures_of_each_tool_are_read_and_its_format_is_found(name):
    form, figures = CASES[name]
    results = read_results(load(name))
    assert (results.format, values(results.totals)) == (form, figures)
    assert read_results(load(name), form) == results


def test_autocannons_percentiles_have_all_spellings_of_it():
    totals = read_results(load("autocannon.json")).totals
    assert (totals.requests, totals.failures, totals.failure_ratio) == (1070, 227, 227 / 1070)
    assert (totals.mean_ms, totals.percentiles_ms[97.5], totals.percentiles_ms[99.999]) == (
        Figure(6.95, 0.5),
        Figure(21.0, 0.5),
        Figure(25.0, 0.5),
    )


def test_the_table_of_ab_has_every_percentile_and_nothing_else():
    totals = read_results(load("ab.csv")).totals
    assert (totals.requests, totals.failures, totals.rate, totals.failure_ratio) == (None, None, None, None)
    assert (totals.min_ms, totals.max_ms) == (Figure(1.392, 0.0005), Figure(22.474, 0.0005))
    assert list(totals.percentiles_ms) == list(range(1, 101))
    assert totals.percentiles_ms[99.0] == Figure(22.113, 0.0005)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "locust_stats.csv",
            [("GET", "browse, all", 187, 30), ("POST", "pay\nnow", 46, 46), ("GET", 'search "x"', 55, 0)],
        ),
        ("artillery.json", [("", "/some", 40, 9), ("", "/list, all", 40, 0), ("", "/fail", 40, 40)]),
        ("artillery_refused.json", [("", "/some", 3, 3)]),
        ("k6_export.json", [("", "browse", 80, 2)]),
        ("jmeter.csv", [("", "list, all", 2, 0), ("", 'say "hi"\nto all', 1, 1)]),
        ("jmeter.xml", [("", "list, all", 2, 0), ("", 'say "hi"\nto all', 1, 1)]),
        ("wrk.txt", []),
    ],
)
def test_names_of_requests_have_figures_of_their_own(name, rows):
    found = read_results(load(name)).by_name
    assert [(row.method, row.name, row.totals.requests, row.totals.failures) for row in found] == rows


def test_start_and_end_are_read_where_the_file_has_them():
    spans = {name: (read_results(load(name)).started_at, read_results(load(name)).ended_at) for name in CASES}
    assert {name: span for name, span in spans.items() if span != (None, None)} == {
        "artillery.json": (1795946346.863, 1795946350.887),
        "artillery_refused.json": (1795946559.905, 1795946560.587),
        "autocannon_refused.json": (1795946575.516, 1795946576.531),
        "jmeter.csv": (1795946400.0, 1795946402.0),
        "jmeter.xml": (1795946400.0, 1795946402.0),
        "k6_machine_readable.json": (None, 1795946400.5),
    }


def test_files_with_every_request_have_the_course_of_the_test():
    course = read_results(load("jmeter.csv")).intervals
    assert [(part.starts_at, part.seconds, part.requests, part.failures) for part in course] == [
        (1795946400.0, 1.0, 2, 1),
        (1795946402.0, 1.0, 1, 0),
    ]
    assert [part.response_times.max for part in course] == [300.0, 500.0]
    [part] = read_results(load("hey.csv")).intervals
    assert (part.starts_at, part.requests, part.failures) == (0.0, 60, 17)


def test_a_file_of_transactions_alone_is_one_of_transactions():
    lines = load("jmeter.csv").split(b"\n")
    only = b"\n".join(line for line in lines if line.startswith(b"timeStamp") or b"Number of samples" in line)
    totals = read_results(only).totals
    assert (totals.requests, totals.failures, totals.max_ms) == (1, 1, Figure(400.0, 0.5))


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith((".csv", ".txt", ".xml"))])
def test_marks_encodings_and_line_ends_of_other_systems_change_nothing(name):
    text = load(name).decode()
    expected = read_results(load(name))
    encodings = ["utf-8-sig", "utf-16"]
    if name.endswith(".xml"):
        text = text.replace(' encoding="UTF-8"', "")
    for encoding in encodings:
        assert read_results(text.encode(encoding)) == expected
    if name not in ("jmeter.csv", "locust_stats.csv"):  # whose names of requests have line breaks
        assert read_results(text.replace("\n", "\r\n").encode()) == expected


def test_other_delimiters_are_known():
    text = load("hey.csv").decode()
    for delimiter in (";", "\t", "|"):
        assert read_results(text.replace(",", delimiter).encode()) == read_results(load("hey.csv"))


def test_a_report_after_other_output_is_found():
    report = load("siege.json").decode()
    assert read_results(f"New configuration template added\n{report}\n{report}".encode()) == read_results(
        report.encode()
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_of_another_tool_is_refused_with_words(form):
    other = "wrk.txt" if form != "wrk" else "ab.txt"
    with pytest.raises(ResultFileError, match=r"is it complete\?|no column|is not (JSON|XML)"):
        read_results(load(other), form)


def test_siege_with_its_unit_is_read_in_milliseconds():
    text = load("siege.txt").decode()
    newer = re.sub(
        r"((?:Response time|Longest transaction|Shortest transaction):\s+)(\S+)(?: secs)?",
        lambda line: f"{line[1]}{float(line[2]) * 1000:.2f} ms",
        text,
    )
    assert newer != text
    old, new = (read_results(each.encode(), "siege").totals for each in (text, newer))
    assert (new.mean_ms.value, new.max_ms.value) == pytest.approx((old.mean_ms.value, old.max_ms.value))
