"""Which numbers of a metric become series, and that folding keeps all of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.columns import SeriesKey
from metrics_stream.core.series.folding import Folder, matches, readings


def metric(at, data, metric_type="system", source="web-1"):
    return Metric(metric_type, source, at, (), json.dumps({"metric_type": metric_type, "data": data}).encode())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"tps": 1.5, "total": 3}, {None: {"tps": 1.5, "total": 3}}),
        ({"tps": 1.5, "phase": "peak", "ok": True, "none": None}, {None: {"tps": 1.5, "none": None}}),
        (
            {"cost": {"total": 2, "of": {"network": 1.0}}, "tps": 3},
            {None: {"cost.total": 2, "cost.of.network": 1.0, "tps": 3}},
        ),
        ({"nodes": [{"load": 1}], "tps": 3}, {None: {"tps": 3}}),
        (
            [{"agent_id": "a", "load": 1, "name": "A"}, {"agent_id": 7, "load": 2, "of": {"x": 3}}],
            {"agent_id=a": {"load": 1}, "agent_id=7": {"load": 2, "of.x": 3}},
        ),
        ({"tps": 1, "agents": [{"agent_id": "a", "load": 2}]}, {None: {"tps": 1}, "agent_id=a": {"load": 2}}),
        ({"tps": 1, "agents": {"a": {"load": 2}, "b": 5}}, {None: {"tps": 1}, "agent_id=a": {"load": 2}}),
        ({"agents": "none", "tps": 1}, {None: {"tps": 1}}),
        ({"sketches": {"ms": {"accuracy": 0.01, "bins": {"1": 2}}}, "tps": 1}, {None: {"tps": 1}}),
        ([{"agent_id": "a", "sketches": {"ms": {"accuracy": 0.01}}, "load": 1}], {"agent_id=a": {"load": 1}}),
        ([1, "a", None, {"no": 1}], {}),
        ("text", {}),
        (7, {}),
    ],
)
def test_every_number_is_found_and_nothing_else(data, expected):
    found = readings(json.dumps({"data": data}).encode())
    assert {row: dict(zip(fields, values, strict=True)) for row, fields, values in found} == expected


@pytest.mark.parametrize("body", [b"", b"{", b'{"data":1e999}', b"[]", b'{"data":' + b"[" * 100_000])
def test_body_that_is_no_metric_has_no_numbers(body):
    assert readings(body) == []


FIELDS = st.dictionaries(st.sampled_from("abc"), st.integers(-1000, 1000), min_size=1)
METRICS = st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["web-1", "web-2"]), FIELDS), min_size=1, max_size=60)


def expected_series(decoded_metrics, width):
    found: dict = {}
    for at, source, data in sorted(decoded_metrics, key=lambda decoded: decoded[0]):
        for field, value in data.items():
            found.setdefault((source, field), {}).setdefault(at // width, []).append(value)
    return found


@given(METRICS, st.integers(2, 60), st.booleans())
def test_series_have_the_values_of_the_metrics(decoded_metrics, max_points, is_looked_at_meanwhile):
    folder = Folder()
    for at, source, data in decoded_metrics:
        folder.add(metric(float(at), data, source=source))
        if is_looked_at_meanwhile:
            folder.series(since=0, until=50)
    found = folder.series(since=0, until=50, max_points=max_points)
    width = found[0].bucket_seconds
    expected = expected_series(decoded_metrics, int(width))
    assert {(one.source, one.field) for one in found} == expected.keys()
    for one in found:
        buckets = expected[one.source, one.field]
        assert (one.starts_at, one.bucket_seconds) == (0, width)
        assert dict(zip(one.buckets, one.count, strict=True)) == {key: len(values) for key, values in buckets.items()}
        assert dict(zip(one.buckets, one.min, strict=True)) == {key: min(values) for key, values in buckets.items()}
        assert dict(zip(one.buckets, one.max, strict=True)) == {key: max(values) for key, values in buckets.items()}
        assert dict(zip(one.buckets, one.last, strict=True)) == {key: values[-1] for key, values in buckets.items()}
        means = {key: pytest.approx(sum(values) / len(values)) for key, values in buckets.items()}
        assert dict(zip(one.buckets, one.mean, strict=True)) == means


def test_selection_narrows_the_series_as_it_does_live():
    folder = Folder()
    folder.add(metric(1.0, {"tps": 1, "cost": {"total": 2}}))
    folder.add(metric(1.0, {"tps": 1}, source="web-2"))
    folder.add(metric(1.0, [{"agent_id": "a", "load": 1}, {"agent_id": "b", "load": 2}], "agent"))

    def names(metric_types=(), **filters):
        found = folder.series(since=0, until=2, metric_types=metric_types, filters=Filters(**filters))
        return [(one.source, one.row, one.field) for one in found]

    assert names(("agent",)) == [("web-1", "agent_id=a", "load"), ("web-1", "agent_id=b", "load")]
    assert names(sources=("web-2",)) == [("web-2", None, "tps")]
    assert names(fields=("cost",)) == [("web-1", None, "cost.total")]
    assert names(agent_ids=("b",)) == [
        ("web-1", None, "tps"),
        ("web-1", None, "cost.total"),
        ("web-2", None, "tps"),
        ("web-1", "agent_id=b", "load"),
    ]
    assert matches(SeriesKey("agent", "web-1", "agent_id=b"), (), Filters())


def test_series_beyond_the_bound_are_left_out():
    folder = Folder(max_series=3)
    folder.add(metric(1.0, {"a": 1, "b": 2}))
    assert not folder.left_out
    folder.add(metric(2.0, {"c": 3, "d": 4, "a": 5}))
    found = folder.series(since=0, until=5)
    assert [(one.source, one.field, one.last) for one in found] == [
        ("web-1", "a", [1, 5]),
        ("web-1", "b", [2]),
        ("web-1", "c", [3]),
    ]
    assert dict(folder.left_out) == {("system", "web-1"): 2}
    folder.forget_left_out(3)
    assert not folder.left_out


def shown(folder):
    folder.series(since=0, until=500)  # what is read is put in its place first
    return [(one.source, one.field) for one in folder.series(since=0, until=500)]


def test_who_has_most_gives_way():
    folder = Folder(max_series=4)
    folder.add(metric(1.0, dict.fromkeys("abcdef", 1)))
    folder.add(metric(2.0, {"a": 1, "b": 1, "c": 1}, source="web-2"))
    assert shown(folder) == [("web-1", "a"), ("web-1", "b"), ("web-2", "a"), ("web-2", "b")]
    assert set(folder.left_out) == {("system", "web-1"), ("system", "web-2")}


def test_a_token_has_one_share_over_all_its_sources_and_divides_it_among_them():
    folder = Folder(max_series=6)
    for number in range(9):
        folder.add(metric(1.0, {"a": 1}, source=f"pod-{number}"), "token 1")
    folder.add(metric(1.0, {"a": 1, "b": 2, "c": 3}), "token 2")
    folder.add(metric(1.0, {"a": 1, "b": 2, "c": 3}, source="pod-9"), "token 1")
    assert shown(folder) == [*((f"pod-{number}", "a") for number in range(3)), *(("web-1", name) for name in "abc")]
    folder = Folder(max_series=4)
    folder.add(metric(1.0, dict.fromkeys("abcd", 1)), "token 1")
    folder.add(metric(1.0, {"a": 1, "b": 1, "c": 1}, source="web-2"), "token 1")
    assert shown(folder) == [("web-1", "a"), ("web-1", "b"), ("web-2", "a"), ("web-2", "b")]


def test_names_that_a_token_adds_to_the_source_of_another_are_its_own():
    folder = Folder(max_series=4)
    folder.add(metric(1.0, {"a": 1}), "token 1")
    folder.add(metric(1.0, {f"x{number}": 1 for number in range(9)}), "token 2")
    folder.add(metric(1.0, {"b": 2, "a": 3}), "token 1")
    found = {one.field: one.last for one in folder.series(since=0, until=5)}
    assert found == {"a": [3], "b": [2], "x0": [1], "x1": [1]}


def drop_before(folder, at):
    for key in folder.keys:
        folder.drop(key, 0, folder.bucket_of(at))


def test_dropped_series_make_room():
    folder = Folder(max_series=2)
    folder.add(metric(1.0, {"a": 1, "b": 2}))
    folder.add(metric(5.0, {"a": 3}))
    drop_before(folder, 5.0)
    assert [(one.field, one.last) for one in folder.series(since=0, until=9)] == [("a", [3])]
    drop_before(folder, 100.0)
    assert folder.series(since=0, until=9) == []
    folder.add(metric(101.0, {"c": 1, "d": 2}))
    assert [one.field for one in folder.series(since=0, until=200)] == ["c", "d"]


def test_columns_from_before_come_first():
    older, folder = Folder(), Folder()
    key = SeriesKey("system", "web-1", None)
    for at, value in ((1.0, 1), (2.0, 9), (3.0, 4)):
        older.add(metric(at, {"a": value}))
    for at, value in ((2.0, 2), (4.0, 5)):
        folder.add(metric(at, {"a": value}))
    folder.put_before(key, older.columns(key))
    folder.add(metric(3.0, {"a": 6}))
    [found] = folder.series(since=1, until=4)
    assert (found.last, found.max, found.count) == ([1, 2, 6, 5], [1, 9, 6, 5], [1, 2, 2, 1])
    folder.drop(key, 1, 3)
    [found] = folder.series(since=1, until=4)
    assert found.last == [6, 5]


def test_integer_that_no_float_can_hold_is_left_out():
    folder = Folder()
    folder.add(metric(1.0, {"a": 10**400, "b": 2}))
    assert [(one.field, one.last) for one in folder.series(since=0, until=2)] == [("b", [2])]
