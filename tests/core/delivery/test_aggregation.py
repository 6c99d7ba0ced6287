"""The summaries of an interval against those computed from the raw metrics in plain Python."""

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics_stream.core.delivery.aggregation import MAX_PARTS, Interval
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.percentiles import rank_of
from metrics_stream.core.metrics.projection import MALFORMED
from metrics_stream.core.metrics.sketch import ACCURACY
from metrics_stream.core.protocol.messages import Filters
from tests.support.aggregates import aggregated, fold, lognormal, metric, one_of, shares_of


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
                "requests_total": {"count": 2, "min": 10, "max": 25, "last": 25},
                "max_response_time_ms": {"count": 2, "min": 20.0, "max": 80.0, "mean": 50.0, "last": 20.0},
            },
        }
    ]


def test_a_single_metric_is_its_own_aggregate():
    row = {"throughput_tps": 0.1, "p99_response_time_ms": 66.61, "requests_total": 7, "note": None, "tags": ["a", 1]}
    document = one_of(row)
    assert document["data"] == row
    assert "worst" not in document


def test_each_type_source_agent_and_run_has_its_own_aggregate_in_order_of_change():
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
    assert [one.kind for _, one in fold(metrics).since(0)][2] == ("agent", "host1", ("agent_id=b",))


def test_the_fields_beside_agents_are_summed_up_when_no_agent_is_left():
    metrics = [metric({"agents": {"a1": {"load": x}}, "x": x}) for x in (1, 3)]
    [(_, summary)] = fold(metrics, Filters(agent_ids=("a9",))).since(0)
    document = json.loads(summary.body)
    assert document["data"] == {"x": 2.0, "agents": {}}
    assert list(document["summary"]) == ["x"]
    assert summary.rows == ()


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
        # The mean of a counter says nothing, and percentiles have none.
        assert ("mean" in summed) == (path not in ("p99_x", "requests_total"))
        if "mean" in summed:
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


def test_the_mean_stays_within_its_numbers():
    assert one_of(*[{"x": 0.1}] * 10, {"x": 0.1})["data"]["x"] == 0.1
    assert one_of({"x": 1.5e308}, {"x": 1.6e308})["data"]["x"] <= 1.6e308


# --- bounds and malformed input ---


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
    assert data["p99_response_time_ms"] == pytest.approx(every[rank_of(0.99, len(every))], rel=ACCURACY)


def test_an_interval_is_cut_only_after_new_metrics_and_up_to_a_bound():
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
def test_a_malformed_body_raises(body):
    interval = Interval(0, False)
    with pytest.raises(MALFORMED):
        interval.add(0, Metric("system", "host1", 0.0, (), body), body)
    assert interval.since(0) == []


@pytest.mark.parametrize("data", [b"5", b"null", b'"x"', b"[1,2]", b"9" * 400, b'{"x":%b}' % (b"9" * 400)])
def test_data_of_any_shape_is_accepted(data):
    body = b'{"metric_type":"system","timestamp":"t","source":"s","data":%b}' % data
    one = Metric("system", "s", 0.0, (), body)
    metrics = [metric({"x": 1}, source="s"), one, one]
    assert len(aggregated(metrics)) == 1


def test_the_last_of_deeply_nested_objects_is_kept():
    def nest(value, depth):
        return value if depth == 0 else {"x": nest(value, depth - 1)}

    document = one_of(nest(1, 60), nest(3, 60))
    assert document["data"] == nest(3, 60)
    assert document["summary"] == {}


def test_the_group_changed_longest_ago_is_dropped_first():
    metrics = [metric({"x": 1}, source=source) for source in ("a", "b", "a", "c")]
    interval = fold(metrics)
    before = interval.size
    assert interval.drop_oldest() == "system"
    assert interval.size < before
    assert [one.source for _, one in interval.since(0)] == ["a", "c"]
    interval.drop_oldest()
    assert interval.drop_oldest() is None  # a single metric that was not folded with others
    assert [one.source for _, one in interval.since(0)] == ["c"]


def test_the_size_of_an_interval_grows_with_fields_and_bins_not_with_metrics():
    rows = [{"x": 1.0, "deep": {"y": 2.0}, **shares_of([5.0, 5.0, 80.0])}] * 3
    sizes = [fold([metric(row) for row in rows[:count]]).size for count in (1, 3)]
    assert sizes[0] == sizes[1]
    assert fold([metric({**rows[0], "z": 1})]).size > sizes[0] + 100
    more = {**rows[0], **shares_of([1.0, 5.0, 80.0, 900.0])}
    assert fold([metric(more)]).size > sizes[0]
