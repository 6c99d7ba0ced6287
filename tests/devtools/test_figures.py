"""Figures of two sides: what is read from benchmarks' JSON, and what is made of it."""

from typing import Any

import pytest

from devtools.figures import Comparison, compared, figures, report, undelivered


def row(system: str = "metrics_stream", **values: Any) -> dict[str, Any]:
    return {
        "system": system,
        "delivered": 10_000,
        "expected": 10_000,
        "frames": 5_000,
        "points": 10_000,
        "cpu_seconds": 0.5,
        "p50_ms": 60.0,
        **values,
    }


def document(*rows: dict[str, Any], **scenarios: dict[str, Any]) -> dict[str, Any]:
    return {"scenarios": {"fan-out": {"rows": list(rows), "goals": [], "notes": []}, **scenarios}}


def goal(what: str, value: float | None, unit: str) -> dict[str, Any]:
    return {"what": what, "limit": 500, "value": value, "unit": unit, "at_most": True, "met": True}


FIRST_PAINT = {"rows": [], "goals": [goal("filled, p50", 381.5, " ms"), goal("filled, p95", None, " ms")], "notes": []}


def test_a_system_has_its_processor_time_and_the_age_of_its_points():
    assert dict(figures(document(row()))) == {
        ("fan-out", "metrics_stream", "CPU s/10k frames"): pytest.approx(1.0),
        ("fan-out", "metrics_stream", "CPU s/M points"): pytest.approx(50.0),
        ("fan-out", "metrics_stream", "age p50, ms"): 60.0,
    }


def test_what_a_system_does_not_have_is_left_out():
    floor = row("floor: send() alone", points=0, p50_ms=None)
    absent = {"system": "nats-server", "absent": "not installed"}
    assert list(figures(document(floor, absent))) == [
        (("fan-out", "floor: send() alone", "CPU s/10k frames"), pytest.approx(1.0))
    ]


def test_a_scenario_without_systems_has_the_values_of_its_targets():
    found = dict(figures(document(**{"first-paint": FIRST_PAINT})))
    assert found == {("first-paint", "", "filled, p50, ms"): 381.5}


def test_targets_of_a_scenario_with_systems_are_no_figures():
    outcome = {"rows": [row(points=0, p50_ms=None)], "goals": [goal("p99 age", 120.0, " ms")], "notes": []}
    assert [name for (_, _, name), _ in figures({"scenarios": {"history": outcome}})] == ["CPU s/10k frames"]


def test_rounds_become_one_comparison_with_the_ratio_of_the_medians():
    here = [document(row(p50_ms=value)) for value in (90.0, 63.0, 60.0)]
    there = [document(row(p50_ms=value)) for value in (60.0, 10.0, 61.0)]
    age = next(each for each in compared(here, there) if each.name == "age p50, ms")
    assert age == Comparison("fan-out", "metrics_stream", "age p50, ms", (90.0, 63.0, 60.0), (60.0, 10.0, 61.0))
    assert age.ratio == pytest.approx(1.05)


def test_a_figure_that_one_round_lacks_is_not_compared():
    here, there = [document(row()), document(row(p50_ms=None))], [document(row()), document(row())]
    assert [each.name for each in compared(here, there)] == ["CPU s/10k frames", "CPU s/M points"]


@pytest.mark.parametrize(
    ("here", "outside"), [(95.0, False), (105.0, False), (94.0, True), (106.0, True), (100.0, False)]
)
def test_a_ratio_more_than_five_per_cent_from_one_is_marked(here: float, outside: bool):
    each = Comparison("fan-out", "metrics_stream", "age p50, ms", (here,), (100.0,))
    assert each.is_outside is outside
    assert ("outside 5%" in report([each], "abc").splitlines()[1]) is outside


@pytest.mark.parametrize(("here", "ratio"), [(0.0, 1.0), (0.1, float("inf"))])
def test_a_median_of_zero_divides_nothing(here: float, ratio: float):
    assert Comparison("fan-out", "floor", "CPU s/10k frames", (here,), (0.0,)).ratio == ratio


def test_the_report_has_medians_extremes_and_ratios_and_does_not_count_peers():
    text = report(
        [
            Comparison("fan-out", "metrics_stream", "age p50, ms", (60.0, 62.0, 58.0), (61.0, 60.0, 59.0)),
            Comparison("fan-out", "floor: send() alone", "CPU s/10k frames", (0.2,), (0.1,)),
            Comparison("first-paint", "", "filled, p50, ms", (450.0,), (400.0,)),
        ],
        "abc",
    )
    assert text.splitlines() == [
        "                                                this tree         abc               ratio",
        "fan-out, metrics_stream, age p50, ms            60 (58 to 62)     60 (59 to 61)     1.000",
        "fan-out, floor: send() alone, CPU s/10k frames  0.2 (0.2 to 0.2)  0.1 (0.1 to 0.1)  2.000  outside 5%",
        "first-paint, filled, p50, ms                    450 (450 to 450)  400 (400 to 400)  1.125  outside 5%",
        "Outside 5%: 1 of 2 figures.",
        "Peers are the same program on both sides and not counted: their ratios show the machine's noise.",
    ]


def test_points_that_were_not_delivered_are_named_with_side_and_round():
    whole, short = document(row()), document(row(delivered=9_999), {"system": "nats-server", "absent": "missing"})
    assert undelivered([whole, whole], [whole, short], "abc") == [
        "fan-out, metrics_stream, abc, round 2: delivered 9,999 of 10,000"
    ]
