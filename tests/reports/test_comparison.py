"""Figures of a run beside those of a tool: the difference, and whether rounding explains it."""

from metrics_stream.core.formats.results.figures import Figure, NamedTotals, Results, Totals
from metrics_stream.core.metrics.key_parts import key_part
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


def named(name, requests, method="GET"):
    return NamedTotals(name, method, Totals(requests=requests, mean_ms=Figure(5.0)))


def by_name(ours, theirs):
    results_ = Results(format="locust", totals=Totals(requests=3), by_name=tuple(theirs))
    return compare("soak", Totals(requests=3), results_, named=ours)


def test_each_name_and_method_is_compared():
    found = by_name(
        [named("/", 2), named("/pay", 1, "POST"), named("/pay", 4)],
        [named("/pay", 1, "POST"), named("/", 5), named("/pay", 4)],
    )
    assert [(one.name, one.method, one.rows[0].is_equal) for one in found.names] == [
        ("/pay", "POST", True),
        ("/", "GET", False),
        ("/pay", "GET", True),
    ]
    assert (found.only_in_run, found.only_in_tool, found.is_equal) == ((), (), False)
    assert found.compared == 1 + 2 * 3
    assert found.describe()["names"][1]["figures"][0]["tool"] == 5.0
    assert [line.rstrip() for line in table(found) if line.startswith(("POST", "GET", "  requests"))][:2] == [
        "POST /pay",
        "  requests     1     1           0         0           –  equal",
    ]


def test_a_name_that_only_one_of_both_has_is_named_and_they_are_not_equal():
    found = by_name([named("/", 2), named("/old", 1)], [named("/", 2), named("/new", 1)])
    assert (found.only_in_run, found.only_in_tool, found.is_equal) == (("GET /old",), ("GET /new",), False)
    assert "- GET /new" in table(found)


def test_a_tool_without_methods_means_the_only_one_of_a_name():
    theirs = [named("/", 2, ""), named("/pay", 4, ""), named("a\nname " + "x" * 300, 1, "")]
    ours = [named("/", 2), named("/pay", 1, "POST"), named("/pay", 3), named(key_part("a\nname " + "x" * 300), 1)]
    found = by_name(ours, theirs)
    assert [one.name for one in found.names] == ["/", ours[-1].name]
    assert found.only_in_tool == ("/pay",)


def test_without_names_on_one_side_nothing_is_missing():
    assert by_name([], [named("/", 2)]).is_equal
    assert by_name([named("/", 2)], []).is_equal
