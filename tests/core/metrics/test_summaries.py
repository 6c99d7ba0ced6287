"""The summary of each kind of field, and of percentiles with and without sketches."""

import json

import msgspec
import pytest

from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from metrics_stream.core.metrics.percentiles import rank_of, share_of
from metrics_stream.core.metrics.sketch import ACCURACY
from metrics_stream.core.metrics.summaries import kind_of
from metrics_stream.core.protocol.messages import Filters
from tests.support.aggregates import aggregated, fold, lognormal, metric, one_of, shares_of, sketch_of

KINDS = [
    # name, values, what it becomes
    ("throughput_tps", [1.0, 2.0, 6.0], 3.0),  # rate
    ("cpu_utilization", [0.2, 0.4], pytest.approx(0.3)),  # gauge
    ("queue_depth", [3, 3], 3),  # a gauge that does not change
    ("requests_total", [5, 9, 7], 7),  # counter
    ("money_saved", [5, 9], 9),  # counter by the catalogue, not by its name
    ("max_response_time_ms", [5, 90, 7], 90),  # maximum
    ("p99_response_time_ms", [5.0, 90.0, 7.0], 90.0),  # percentile without a sketch
    ("age_p50_ms", [5.0, 90.0, 7.0], 90.0),
    # names that the catalogue does not know
    ("anything", [1.0, 2.0], 1.5),
    ("p95", [1.0, 2.0], 2.0),
    ("p999_write_ms", [2.0, 1.0], 2.0),
    ("write_p99", [2.0, 1.0], 2.0),
    ("max_write_ms", [2.0, 1.0], 2.0),
    ("write_max", [2.0, 1.0], 2.0),
    ("peak_sessions", [9, 1], 9),
    ("min_write_ms", [1.0, 2.0], 1.0),
    ("write_min", [1.0, 2.0], 1.0),
    ("writes_total", [4, 2], 2),
    ("total_writes", [4, 2], 2),
    ("write_count", [4, 2], 2),
    ("count", [4, 2], 2),
    # names that only look like one
    ("minutes_left", [1.0, 2.0], 1.5),
    ("maximal", [1.0, 2.0], 1.5),
    ("discount", [1.0, 2.0], 1.5),
    ("sp99_x", [1.0, 2.0], 1.5),
    ("p2_x", [1.0, 2.0], 1.5),
    # no numbers
    ("status", ["healthy", "degraded"], "degraded"),
    ("is_up", [True, False], False),
    ("hosts", [["a"], ["a", "b"]], ["a", "b"]),
    ("labels", [{"a": "x", "b": "y"}, {"a": "z"}], {"a": "z"}),
    # null changes nothing
    ("queue_depth", [None, 4, None], 4),
    ("status", ["healthy", None], "healthy"),
    ("anything", [None, None], None),
    # once a field is numeric, other values do not replace it
    ("anything", [1.0, "n/a", 3.0, "n/a"], 2.0),
    ("anything", ["n/a", 2.0], 2.0),
    ("anything", [{"x": 1}, 2.0, {"x": 3}], 2.0),
    ("anything", [{"x": 1}, "n/a"], {"x": 1}),
]


@pytest.mark.parametrize(("name", "values", "becomes"), KINDS)
def test_the_kind_of_a_field_decides_its_value(name, values, becomes):
    data = one_of(*({name: value} for value in values))["data"]
    assert data == {name: becomes}
    assert isinstance(data[name], int) == isinstance(becomes, int)


def test_a_field_has_the_same_kind_in_all_types():
    kinds = {(field.name, field.kind) for metric_type in BUILTIN_TYPES for field in metric_type.fields}
    assert len({name for name, _ in kinds}) == len(kinds)
    assert {kind_of(name) for name, kind in kinds if kind == "counter"} == {"counter"}


def test_spikes_survive_in_the_maximum_of_every_number():
    rows = [{"cpu_utilization": 0.1, "p99_response_time_ms": 10.0, "x": {"y": 1.0}} for _ in range(1_000)]
    rows[500] = {"cpu_utilization": 0.99, "p99_response_time_ms": 9_000.0, "x": {"y": -700.0}}
    document = one_of(*rows)
    assert document["summary"]["cpu_utilization"]["max"] == 0.99
    assert document["summary"]["p99_response_time_ms"]["max"] == 9_000.0
    assert document["data"]["p99_response_time_ms"] == 9_000.0
    assert document["summary"]["x.y"]["min"] == -700.0


def test_objects_are_summarised_by_dotted_paths():
    document = one_of(
        {"hero_metrics": {"money_saved": 5, "uptime_percentage": 90.0, "label": "a", "deep": {"x": 1}}},
        {"hero_metrics": {"money_saved": 8, "uptime_percentage": 100.0, "label": "b", "deep": {"x": 2}}},
    )
    assert document["data"] == {
        "hero_metrics": {"money_saved": 8, "uptime_percentage": 95.0, "label": "b", "deep": {"x": 1.5}}
    }
    assert sorted(document["summary"]) == [
        "hero_metrics.deep.x",
        "hero_metrics.money_saved",
        "hero_metrics.uptime_percentage",
    ]


def test_agents_under_a_key_stay_in_one_metric_each_summarised_by_its_id():
    listed = [
        {"agents": [{"agent_id": "a", "load": 0.2}, {"agent_id": "b", "load": 0.5}], "queue_depth": 1},
        {"agents": [{"agent_id": "a", "load": 0.4, "agent_name": "A"}], "queue_depth": 3},
    ]
    named = [{**row, "agents": {entry["agent_id"]: entry for entry in row["agents"]}} for row in listed]
    document = one_of(*listed)
    assert document["data"] == {
        "agents": [
            {"agent_id": "a", "load": pytest.approx(0.3), "agent_name": "A"},
            {"agent_id": "b", "load": 0.5},
        ],
        "queue_depth": 2.0,
    }
    assert document["summary"]["agents.a.load"]["count"] == 2
    in_object = one_of(*named)
    assert in_object["summary"] == document["summary"]
    assert list(in_object["data"]["agents"].values()) == document["data"]["agents"]
    ((_, made),) = fold([metric(row) for row in listed]).since(0)
    assert made.rows == ("agent_id=a", "agent_id=b")


def test_identity_is_no_number():
    rows = [[{"agent_id": 7, "agent_name": 1, "load": 0.5}], [{"agent_id": 7, "agent_name": 2, "load": 0.7}]]
    (document,) = aggregated([metric(row, "agent") for row in rows])
    assert document["data"] == [{"agent_id": 7, "agent_name": 2, "load": pytest.approx(0.6)}]
    assert list(document["summary"]) == ["load"]


def test_the_last_list_without_agents_is_kept():
    assert [item["data"] for item in aggregated([metric([], "agent"), metric([], "agent")])] == [[]]


# --- percentiles ---


def test_percentiles_come_from_the_merged_sketch():
    windows = [lognormal(900, 1), lognormal(100, 2), [value * 50 for value in lognormal(10, 3)]]
    document = one_of(*map(shares_of, windows))
    every = sorted(value for window in windows for value in window)
    for digits in ("50", "99"):
        exact = every[rank_of(share_of(digits), len(every))]
        name = f"p{digits}_response_time_ms"
        assert document["data"][name] == pytest.approx(exact, rel=ACCURACY)
        sent = [shares_of(window)[name] for window in windows]
        assert document["summary"][name] == {"count": 3, "min": min(sent), "max": max(sent), "last": sent[-1]}
    assert "worst" not in document
    assert "sketches" not in document["data"]


def test_no_percentile_has_a_mean():
    rows = [
        {"p50_x": 1.0, "age_p99_ms": 2.0, "deep": {"p95": 3.0}},
        {"p50_x": 2.0, "age_p99_ms": 2.0, "deep": {"p95": 4.0}},
    ]
    assert ["mean" in summed for summed in one_of(*rows)["summary"].values()] == [False] * 3


def test_without_sketches_the_worst_is_given_and_marked():
    document = one_of(
        {"p50_x": 1.0, "p99_x": 9.0, "deep": {"p95": 3.0}}, {"p50_x": 2.0, "p99_x": 3.0, "deep": {"p95": 1.0}}
    )
    assert document["data"] == {"p50_x": 2.0, "p99_x": 9.0, "deep": {"p95": 3.0}}
    assert document["worst"] == ["p50_x", "p99_x", "deep.p95"]


MALFORMED_SKETCHES = [
    None,
    5,
    [],
    "x",
    {},
    {"other": sketch_of([1.0])},
    {"response_time_ms": None},
    {"response_time_ms": {"accuracy": 0.01, "bins": {"x": 1}}},
    {"response_time_ms": {"accuracy": 0.05, "bins": {"1": 1}}},
    {"response_time_ms": {"accuracy": 0.01, "bins": {"1": 10**400}}},
    {"response_time_ms": {"accuracy": 0.01, "bins": {"1": {"2": 3}}}},
]


@pytest.mark.parametrize("sketches", MALFORMED_SKETCHES, ids=str)
def test_a_malformed_or_missing_sketch_in_one_metric_makes_the_worst_of_the_interval(sketches):
    good, bad = shares_of(lognormal(500, 1)), {**shares_of([1.0]), "sketches": sketches}
    for rows in ([good, bad], [bad, good], [good, bad, good]):
        document = one_of(*rows)
        assert document["worst"] == ["p50_response_time_ms", "p99_response_time_ms"]
        assert document["data"]["p99_response_time_ms"] == good["p99_response_time_ms"]


def test_a_sketch_without_values_leaves_the_worst():
    empty = {"p99_x": 5.0, "sketches": {"x": sketch_of([])}}
    assert one_of(empty, empty)["worst"] == ["p99_x"]


def test_sketches_of_agents_are_merged_agent_by_agent():
    windows = {agent: [lognormal(300, seed), lognormal(200, seed + 10)] for seed, agent in enumerate(("a", "b"))}
    rows = [[{"agent_id": agent, **shares_of(windows[agent][turn])} for agent in windows] for turn in range(2)]
    for document in aggregated([metric(row, "agent") for row in rows]):
        (entry,) = document["data"]
        every = sorted(value for window in windows[entry["agent_id"]] for value in window)
        exact = every[rank_of(0.99, len(every))]
        assert entry["p99_response_time_ms"] == pytest.approx(exact, rel=ACCURACY)
        assert "sketches" not in entry


@pytest.mark.parametrize("in_list", [False, True])
def test_a_filter_that_keeps_a_percentile_need_not_keep_its_sketch(in_list):
    rows = [{"agent_id": "a", **shares_of(lognormal(300, seed)), "error_rate": 0.1} for seed in range(3)]
    metrics = [metric([row] if in_list else row, "agent" if in_list else "system") for row in rows]
    (whole,) = aggregated(metrics)
    (document,) = aggregated(metrics, filters=Filters(fields=("p99_response_time_ms",)))
    whole_data, data = (whole["data"][0], document["data"][0]) if in_list else (whole["data"], document["data"])
    assert data["p99_response_time_ms"] == whole_data["p99_response_time_ms"]
    assert list(document["summary"]) == ["p99_response_time_ms"]
    assert "worst" not in document
    assert "sketches" not in data


def test_the_merged_sketch_is_kept_on_request():
    windows = [lognormal(300, 1), lognormal(300, 2)]
    document = one_of(*map(shares_of, windows), filters=Filters(fields=("sketches",)), keeps_sketches=True)
    merged = json.loads(msgspec.json.encode(sketch_of(windows[0] + windows[1])))
    assert document["data"] == {"sketches": {"response_time_ms": merged}}
    assert document["summary"] == {}


@pytest.mark.parametrize(("digits", "share"), [("05", 0.05), ("50", 0.5), ("99", 0.99), ("999", 0.999), ("100", 1.0)])
def test_the_digits_of_a_percentile(digits, share):
    assert share_of(digits) == share
