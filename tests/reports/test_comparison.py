"""Figures of a run beside those of a tool: the difference, and whether rounding explains it."""

from metrics_stream.core.formats.results.figures import Figure, Results, Totals
from metrics_stream.reports.comparison import Row, compare, table

RUN = Totals(
    requests=100,
    failures=4,
    rate=Figure(10.0),
    mean_ms=Figure(7.3),
    percentiles_ms={95.0: Figure(21.0, 0.21)},
)
TOOL = Totals(
    requests=100,
    failures=5,
    rate=Figure(10.1),
    mean_ms=Figure(7.0, 0.5),
    max_ms=Figure(22.0, 0.5),
    percentiles_ms={95.0: Figure(21.25, 0.05), 99.0: Figure(22.0, 0.5), 100.0: Figure(22.0, 0.5)},
)


def results(totals: Totals) -> Results:
    return Results(format="ab", totals=totals, rules=("ab rounds.",))


def outcome(**options):
    return {row.figure: row.is_equal for row in compare("soak", RUN, results(TOOL), **options).rows}


def test_a_figure_is_equal_if_rounding_explains_the_difference():
    assert outcome() == {
        **{"requests": True, "failures": False, "failure ratio": False, "rate": False, "mean": True, "p95": True},
        **{"p99": None, "max": None},
    }


def test_a_tolerance_is_a_share_of_the_tools_value():
    assert outcome(tolerance_percent=1.0)["rate"] is True
    assert outcome(tolerance_percent=0.9)["rate"] is False
    assert outcome(tolerance_percent=20.0) | {"p99": True, "max": True} == dict.fromkeys(outcome(), True)


def test_a_comparison_is_equal_if_something_was_compared_and_nothing_differs():
    assert compare("soak", RUN, results(TOOL), tolerance_percent=20.0).is_equal
    assert not compare("soak", RUN, results(TOOL)).is_equal
    nothing = compare("soak", Totals(), results(TOOL), tolerance_percent=100.0)
    assert (nothing.compared, nothing.is_equal) == (0, False)
    assert compare("soak", Totals(), results(Totals())).rows == ()


def test_no_requests_are_equal_to_no_requests():
    none = Totals(requests=0, failures=0, rate=Figure(0.0))
    rows = compare("soak", none, results(none)).rows
    assert [(row.figure, row.difference, row.percent, row.is_equal) for row in rows] == [
        ("requests", 0.0, None, True),
        ("failures", 0.0, None, True),
        ("rate", 0.0, None, True),
    ]


def test_the_last_digits_of_floats_are_no_difference():
    assert Row("rate", "/s", 0.1 + 0.2, 0.3).is_equal
    assert not Row("rate", "/s", 0.3001, 0.3).is_equal


def test_a_table_for_people_shows_each_row_and_the_rules():
    lines = table(compare("soak", RUN, results(TOOL), run_rules=("The run counts.",)))
    assert [line.split() for line in lines[:4]] == [
        ["run", "tool", "difference", "per", "cent", "may", "differ"],
        ["requests", "100", "100", "0", "0", "–", "equal"],
        ["failures", "4", "5", "-1", "-20", "–", "differs"],
        ["failure", "ratio", "0.04", "0.05", "-0.01", "-20", "–", "differs"],
    ]
    assert "max (ms)" in lines[8]
    assert lines[8].split()[2:] == ["–", "22", "–", "–", "–", "unknown"]
    assert lines[-5:] == ["The run:", "- The run counts.", "", "The tool:", "- ab rounds."]
    assert len({len(line.rstrip()) for line in lines[1:3]}) == 2  # the last column is not padded


def test_the_data_for_json_has_every_figure():
    described = compare("soak", RUN, results(TOOL), tolerance_percent=1.0).describe()
    assert (described["run"], described["format"], described["equal"]) == ("soak", "ab", False)
    assert described["figures"][1] == {
        **{"figure": "failures", "unit": "", "run": 4.0, "tool": 5.0, "difference": -1.0, "percent": -20.0},
        **{"may_differ": 0.05, "equal": False},
    }
