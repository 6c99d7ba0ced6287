"""Names of fields: keys with dots and paths mean the same live, in the past and in exports."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.delivery.aggregation import Aggregate
from metrics_stream.core.delivery.selection import DecodedMetric, compile_projection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.paths import MISSING, common_names, is_covered, look_up
from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.folding import Folder, readings

BOTH = {"a.b": 1, "a": {"b": 2, "c": 3}}


def metric_of(data) -> Metric:
    body = {"metric_type": "system", "timestamp": "2026-01-01T00:00:00Z", "source": "s", "data": data}
    return Metric("system", "s", 1_767_225_600.0, (), json.dumps(body).encode())


@pytest.mark.parametrize(
    ("data", "path", "value"),
    [
        ({"http.response_time.p95": 5}, "http.response_time.p95", 5),
        ({"http": {"response_time": {"p95": 6}}}, "http.response_time.p95", 6),
        ({"http.response_time": {"p95": 7}}, "http.response_time.p95", 7),
        (BOTH, "a.b", 1),
        (BOTH, "a.c", 3),
        ({"a": {"b.c": 1}, "a.b": {"c": 2}}, "a.b.c", 2),
        ({"a": {"b.c": 1}, "a.b": {"d": 2}}, "a.b.c", 1),
        ({"a": {"": 1}, ".a": 2}, "a.", 1),
        ({"": {"a": 3}}, ".a", 3),
        ({"a": [1, 2]}, "a.0", MISSING),
        ({"a": 1}, "a.b", MISSING),
        ([1], "0", MISSING),
    ],
    ids=lambda value: "missing" if value is MISSING else str(value),
)
def test_longest_key_that_fits_is_the_one_that_a_name_means(data, path, value):
    assert look_up(data, path) is value or look_up(data, path) == value


def test_recorded_field_is_the_one_that_a_panel_shows():
    (_, fields, values), *_ = readings(metric_of({**BOTH, "x.y": "text", "x": {"y": 4, "z": 5}}).body)
    assert dict(zip(fields, values, strict=True)) == {"a.b": 1, "a.c": 3, "x.z": 5}
    folder = Folder()
    folder.add(metric_of(BOTH))
    found = folder.series(since=1_767_225_600.0, until=1_767_225_600.0)
    assert {series.field: (series.count, series.max) for series in found} == {"a.b": ([1], [1.0]), "a.c": ([1], [3.0])}


def test_summary_of_a_key_with_dots_is_not_that_of_the_path_of_the_same_name():
    for data in (BOTH, dict(reversed(BOTH.items()))):
        aggregate = Aggregate()
        metric = metric_of(data)
        aggregate.add(1, metric, metric.body)
        [(_, summed)] = aggregate.metrics(keeps_sketches=False)
        document = json.loads(summed.body)
        assert document["data"] == BOTH
        assert document["summary"]["a.b"]["last"] == 1


KEYS = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a", "c"])
DATA = st.dictionaries(KEYS, st.recursive(st.integers(0, 9), lambda inner: st.dictionaries(KEYS, inner, max_size=3)))
NAMES = st.lists(st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a", "a.b.b.a", "c"]), min_size=1, max_size=3)


def names_in(body: bytes) -> set[str]:
    return {field for _, fields, _ in readings(body) for field in fields}


@given(data=DATA, names=NAMES)
def test_filters_and_grants_select_the_same_fields_live_and_of_the_past(data, names):
    metric = metric_of(data)
    recorded = {field for field in names_in(metric.body) if is_covered(field, names)}
    filtered = compile_projection(Filters(fields=tuple(names)))(DecodedMetric(metric))
    permit = Permit(frozenset({Grant(frozenset({"system"}), fields=frozenset(names))}))
    permitted = DecodedMetric(metric).under(permit)
    live = names_in(filtered) if filtered else set()
    assert (names_in(permitted.metric.body) if permitted else set()) == live
    # A key that has the same name as another may be a text or an object; then only what is below the names is shown.
    assert recorded <= live
    assert all(is_covered(field, names) for field in live)
    assert {field for field in names_in(metric.body) if permit.shows("system", "s", None, field)} == recorded


@given(mine=NAMES, theirs=NAMES, path=st.sampled_from(["a", "b", "a.b", "a.b.a", "b.a.c", "c.c", "a.b.b.a.a"]))
def test_overlap_of_grants_shows_what_both_show(mine, theirs, path):
    both = common_names(frozenset(mine), frozenset(theirs))
    assert is_covered(path, both) == (is_covered(path, mine) and is_covered(path, theirs))
    grants = [Grant(frozenset({"system"}), fields=frozenset(names)) for names in (mine, theirs)]
    overlap = Permit(frozenset({grants[0]})).overlap(Permit(frozenset({grants[1]})))
    assert overlap.shows("system", "s", None, path) == is_covered(path, both)


def test_filter_of_a_path_leaves_the_rest_of_the_object_out():
    project = compile_projection(Filters(fields=("cost.total", "http.p95")))
    body = project(DecodedMetric(metric_of({"cost": {"total": 1, "tax": 2}, "http.p95": 3, "http.p50": 4, "x": 5})))
    assert json.loads(body)["data"] == {"cost": {"total": 1}, "http.p95": 3}
    assert project(DecodedMetric(metric_of({"x": 5}))) is None
    assert project(DecodedMetric(metric_of({"cost": 7, "x": 5}))) is None
