"""The summaries of an interval against those computed from the raw metrics in plain Python."""

import json
import math
import random
import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics_stream.core.delivery.aggregation import MAX_PARTS, Interval
from metrics_stream.core.delivery.selection import DecodedMetric, compile_projection
from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES, Catalogue
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.projection import MALFORMED
from metrics_stream.core.metrics.sketch import ACCURACY, Sketch
from metrics_stream.core.metrics.summaries import kind_of, share_of
from metrics_stream.core.protocol.messages import Filters

TYPES = Catalogue().types


def metric(data, metric_type="system", source="host1", timestamp=1_700_000_000.0, run=None):
    made = encode_metric(TYPES[metric_type], data, timestamp=timestamp, source=source, max_bytes=10**6)
    return made if run is None else msgspec.structs.replace(made, body=made.body[:-1] + b',"run":"%b"}' % run.encode())


def fold(metrics, filters=None, keeps_sketches=False):
    interval = Interval(0, keeps_sketches)
    project = compile_projection(filters or Filters())
    for sequence, one in enumerate(metrics):
        interval.add(sequence, one, project(DecodedMetric(one)))
    return interval


def aggregated(metrics, **kwargs):
    return [json.loads(one.body) for _, one in fold(metrics, **kwargs).since(0)]


def one_of(*rows, **kwargs):
    (document,) = aggregated([metric(row) for row in rows], **kwargs)
    return document


def sketch_of(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch.encode()


def test_an_aggregate_is_a_metric_with_a_summary():
    rows = [
        {"throughput_tps": 100.0, "requests_total": 10, "max_response_time_ms": 80.0, "phase": "ramp-up"},
        {"throughput_tps": 300.0, "requests_total": 25, "max_response_time_ms": 20.0, "phase": "steady"},
    ]
    metrics = [metric(row, timestamp=1_700_000_000.0 + number) for number, row in enumerate(rows)]
    assert aggregated(metrics) == [
        {
            "metric_type": "system",
            "timestamp": "2023-11-14T22:13:21.000000Z",
            "source": "host1",
            "data": {"throughput_tps": 200.0, "requests_total": 25, "max_response_time_ms": 80.0, "phase": "steady"},
            "summary": {
                "throughput_tps": {"count": 2, "min": 100.0, "max": 300.0, "mean": 200.0, "last": 300.0},
                "requests_total": {"count": 2, "min": 10, "max": 25, "mean": 17.5, "last": 25},
                "max_response_time_ms": {"count": 2, "min": 20.0, "max": 80.0, "mean": 50.0, "last": 20.0},
            },
        }
    ]


def test_one_metric_stands_for_itself():
    row = {"throughput_tps": 0.1, "p99_response_time_ms": 66.61, "requests_total": 7, "note": None, "tags": ["a", 1]}
    document = one_of(row)
    assert document["data"] == row
    assert "worst" not in document


def test_each_type_source_agent_and_run_has_one_of_its_own_the_last_changed_at_the_end():
    metrics = [
        metric({"x": 1}),
        metric({"x": 2}, source="host2"),
        metric([{"agent_id": "a", "x": 3}, {"agent_id": "b", "x": 4}], "agent"),
        metric({"x": 5}, "hero"),
        metric({"x": 7}, run="soak"),
        metric([{"agent_id": "a", "x": 5}], "agent"),
    ]
    found = [
        (item["metric_type"], item["source"], item.get("run"), item["data"], item["summary"]["x"]["count"])
        for item in aggregated(metrics)
    ]
    assert found == [
        ("system", "host1", None, {"x": 1}, 1),
        ("system", "host2", None, {"x": 2}, 1),
        ("agent", "host1", None, [{"agent_id": "b", "x": 4}], 1),
        ("hero", "host1", None, {"x": 5}, 1),
        ("system", "host1", "soak", {"x": 7}, 1),
        ("agent", "host1", None, [{"agent_id": "a", "x": 4.0}], 2),
    ]
    assert [one.key for _, one in fold(metrics).since(0)][2] == ("agent", "host1", ("b",))


KINDS = [
    # name, values, what it becomes
    ("throughput_tps", [1.0, 2.0, 6.0], 3.0),  # rate
    ("cpu_utilization", [0.2, 0.4], pytest.approx(0.3)),  # gauge
    ("queue_depth", [3, 3], 3),  # a gauge that stands still
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
    # null says nothing
    ("queue_depth", [None, 4, None], 4),
    ("status", ["healthy", None], "healthy"),
    ("anything", [None, None], None),
    # a number, once there, is not covered by what is none
    ("anything", [1.0, "n/a", 3.0, "n/a"], 2.0),
    ("anything", ["n/a", 2.0], 2.0),
    ("anything", [{"x": 1}, 2.0, {"x": 3}], 2.0),
    ("anything", [{"x": 1}, "n/a"], {"x": 1}),
]


@pytest.mark.parametrize(("name", "values", "becomes"), KINDS)
def test_what_a_field_becomes(name, values, becomes):
    data = one_of(*({name: value} for value in values))["data"]
    assert data == {name: becomes}
    assert isinstance(data[name], int) == isinstance(becomes, int)


def test_no_two_types_mean_different_things_by_one_name():
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
    assert made.agent_ids == ("a", "b")


def test_identity_is_no_number():
    rows = [[{"agent_id": 7, "agent_name": 1, "load": 0.5}], [{"agent_id": 7, "agent_name": 2, "load": 0.7}]]
    (document,) = aggregated([metric(row, "agent") for row in rows])
    assert document["data"] == [{"agent_id": 7, "agent_name": 2, "load": pytest.approx(0.6)}]
    assert list(document["summary"]) == ["load"]


def test_a_list_without_agents_is_taken_as_it_came_last():
    assert [item["data"] for item in aggregated([metric([], "agent"), metric([], "agent")])] == [[]]


# --- percentiles ---


def shares_of(values, name="response_time_ms"):
    ordered = sorted(values)
    found = {f"p{digits}_{name}": ordered[math.floor(share_of(digits) * (len(ordered) - 1))] for digits in ("50", "99")}
    return {**found, "sketches": {name: sketch_of(values)}}


def lognormal(count, seed):
    source = random.Random(seed)
    return [source.lognormvariate(3, 1) for _ in range(count)]


def test_percentiles_come_from_the_merged_sketch():
    windows = [lognormal(900, 1), lognormal(100, 2), [value * 50 for value in lognormal(10, 3)]]
    document = one_of(*map(shares_of, windows))
    every = sorted(value for window in windows for value in window)
    for digits in ("50", "99"):
        exact = every[math.floor(share_of(digits) * (len(every) - 1))]
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
        exact = every[math.floor(0.99 * (len(every) - 1))]
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


def test_the_merged_sketch_stays_for_those_who_ask_for_it():
    windows = [lognormal(300, 1), lognormal(300, 2)]
    document = one_of(*map(shares_of, windows), filters=Filters(fields=("sketches",)), keeps_sketches=True)
    merged = json.loads(msgspec.json.encode(sketch_of(windows[0] + windows[1])))
    assert document["data"] == {"sketches": {"response_time_ms": merged}}
    assert document["summary"] == {}


@pytest.mark.parametrize(("digits", "share"), [("05", 0.05), ("50", 0.5), ("99", 0.99), ("999", 0.999), ("100", 1.0)])
def test_the_digits_of_a_percentile(digits, share):
    assert share_of(digits) == share


# --- against the raw metrics ---

NAMES = ["throughput_tps", "requests_total", "max_response_time_ms", "anything", "min_x", "p99_x"]
NUMBERS = st.floats(min_value=-1e9, max_value=1e9) | st.integers(min_value=-(10**9), max_value=10**9)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        **{name: NUMBERS | st.none() for name in NAMES},
        "nested": st.dictionaries(st.sampled_from("ab"), NUMBERS),
    },
)
NATURAL = {
    "throughput_tps": statistics.fmean,
    "requests_total": lambda values: values[-1],
    "max_response_time_ms": max,
    "anything": statistics.fmean,
    "min_x": min,
    "p99_x": max,
}


def numbers_of(rows):
    """Return the numbers of every field, by path, in order."""
    found = {}
    for row in rows:
        flat = {**row, **{f"nested.{name}": value for name, value in row.get("nested", {}).items()}}
        for path, value in flat.items():
            if isinstance(value, int | float):
                found.setdefault(path, []).append(value)
    return found


def assert_summarises(document, rows):
    expected = numbers_of(rows)
    assert document["summary"].keys() == expected.keys()
    for path, values in expected.items():
        summed = document["summary"][path]
        assert (summed["count"], summed["min"], summed["max"], summed["last"]) == (
            len(values),
            min(values),
            max(values),
            values[-1],
        )
        natural = NATURAL.get(path, statistics.fmean)
        holder, name = (document["data"]["nested"], path[-1]) if "." in path else (document["data"], path)
        assert holder[name] == pytest.approx(natural(values), rel=1e-9, abs=1e-3)
        if path != "p99_x":
            assert summed["mean"] == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-3)


@hypothesis_settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), ROWS), min_size=1, max_size=20), st.data())
def test_summaries_equal_those_of_the_raw_metrics_wherever_the_interval_is_cut(published, data):
    cuts = data.draw(st.sets(st.integers(0, len(published)), max_size=4))
    interval = Interval(0, False)
    for sequence, (source, row) in enumerate(published):
        if sequence in cuts:
            interval.cut(sequence)
        one = metric(row, source=source)
        interval.add(sequence, one, one.body)
    for start in sorted({0, *cuts} - {len(published)}):
        documents = [json.loads(one.body) for _, one in interval.since(start)]
        part = published[start:]
        by_source = {source: [row for each, row in part if each == source] for source, _ in part}
        assert {document["source"] for document in documents} == by_source.keys()
        for document in documents:
            assert_summarises(document, by_source[document["source"]])


def test_the_mean_is_within_what_it_is_the_mean_of():
    assert one_of(*[{"x": 0.1}] * 10, {"x": 0.1})["data"]["x"] == 0.1
    assert one_of({"x": 1.5e308}, {"x": 1.6e308})["data"]["x"] <= 1.6e308


# --- the ends ---


def test_sketches_survive_a_cut():
    windows = [lognormal(300, seed) for seed in range(4)]
    whole, cut = Interval(0, False), Interval(0, False)
    for sequence, window in enumerate(windows):
        cut.cut(sequence)
        for interval in (whole, cut):
            one = metric(shares_of(window))
            interval.add(sequence, one, one.body)
    assert cut.since(0) == whole.since(0)
    assert len(cut) == 4
    every = sorted(windows[2] + windows[3])
    ((_, late),) = cut.since(2)
    data = json.loads(late.body)["data"]
    assert data["p99_response_time_ms"] == pytest.approx(every[math.floor(0.99 * (len(every) - 1))], rel=ACCURACY)


def test_an_interval_is_cut_only_where_something_came_and_only_so_often():
    interval = Interval(0, False)
    interval.cut(0)
    one = metric({"x": 1})
    for sequence in range(MAX_PARTS + 10):
        interval.add(sequence, one, one.body)
        interval.cut(sequence + 1)
        interval.cut(sequence + 1)
    assert len(interval) == MAX_PARTS
    counts = [json.loads(interval.since(start)[0][1].body)["summary"]["x"]["count"] for start in (0, 1, MAX_PARTS + 5)]
    assert counts == [MAX_PARTS + 10, MAX_PARTS + 9, 11]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"data":{}}', b'{"timestamp":"t","data":{"x":NaN}}', b'{"a":' * 9_999]
)
def test_a_body_that_is_no_metric_is_told(body):
    interval = Interval(0, False)
    with pytest.raises(MALFORMED):
        interval.add(0, Metric("system", "host1", 0.0, (), body), body)
    assert interval.since(0) == []


@pytest.mark.parametrize("data", [b"5", b"null", b'"x"', b"[1,2]", b"9" * 400, b'{"x":%b}' % (b"9" * 400)])
def test_data_of_any_shape_is_taken(data):
    body = b'{"metric_type":"system","timestamp":"t","source":"s","data":%b}' % data
    one = Metric("system", "s", 0.0, (), body)
    metrics = [metric({"x": 1}, source="s"), one, one]
    assert len(aggregated(metrics)) == 1


def test_what_is_nested_deeper_than_anyone_reads_is_taken_as_it_came_last():
    def nest(value, depth):
        return value if depth == 0 else {"x": nest(value, depth - 1)}

    document = one_of(nest(1, 60), nest(3, 60))
    assert document["data"] == nest(3, 60)
    assert document["summary"] == {}


def test_what_was_changed_longest_ago_is_dropped_first():
    metrics = [metric({"x": 1}, source=source) for source in ("a", "b", "a", "c")]
    interval = fold(metrics)
    before = interval.size
    assert interval.drop_oldest() == "system"
    assert interval.size < before
    assert [one.source for _, one in interval.since(0)] == ["a", "c"]
    interval.drop_oldest()
    assert interval.drop_oldest() is None  # a single metric that was not folded with others
    assert [one.source for _, one in interval.since(0)] == ["c"]


def test_what_an_interval_takes_grows_with_fields_and_bins_and_not_with_metrics():
    rows = [{"x": 1.0, "deep": {"y": 2.0}, **shares_of([5.0, 5.0, 80.0])}] * 3
    sizes = [fold([metric(row) for row in rows[:count]]).size for count in (1, 3)]
    assert sizes[0] == sizes[1]
    assert fold([metric({**rows[0], "z": 1})]).size > sizes[0] + 100
    more = {**rows[0], **shares_of([1.0, 5.0, 80.0, 900.0])}
    assert fold([metric(more)]).size > sizes[0]
