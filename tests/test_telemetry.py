import json

from hypothesis import example, given
from hypothesis import strategies as st

from metrics_stream.telemetry import AGE_SECONDS, Histogram, Telemetry

VALUES = st.lists(st.floats(0, 100), max_size=50)


def observed(values) -> Histogram:
    histogram = Histogram(AGE_SECONDS)
    for value in values:
        histogram.observe(value)
    return histogram


def test_a_value_on_a_bound_is_within_its_bucket():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.total) == ([2, 2, 1], 14.0)


def test_a_quantile_lies_evenly_within_its_bucket_and_at_most_at_the_last_bound():
    histogram = Histogram((1.0, 2.0, 4.0), [0, 10, 0, 0])
    assert (histogram.quantile(0.5), histogram.quantile(1.0)) == (1.5, 2.0)
    histogram.observe(100.0, times=90)
    assert histogram.quantile(0.5) == 4.0
    assert Histogram((1.0,)).quantile(0.99) is None


@given(VALUES, st.floats(0.01, 1))
@example([0.0, 0.0, 0.0], 1.0)
def test_a_quantile_is_in_the_bucket_of_the_true_value(values, share):
    quantile = observed(values).quantile(share)
    if not values:
        assert quantile is None
        return
    ordered = sorted(values)
    true = next(value for index, value in enumerate(ordered, 1) if index >= share * len(values))
    bounds = (0.0, *AGE_SECONDS)
    upper = next((bound for bound in AGE_SECONDS if bound >= true), AGE_SECONDS[-1])
    lower = bounds[bounds.index(upper) - 1]
    assert lower <= quantile <= upper


@given(VALUES, VALUES)
def test_what_came_later_and_what_came_before_make_the_whole(first, second):
    whole = observed(first)
    before = whole.copy()
    for value in second:
        whole.observe(value)
    later = whole.since(before)
    assert later.counts == observed(second).counts
    later.add(before)
    assert later.counts == whole.counts


def test_a_snapshot_is_json_and_has_the_percentiles():
    telemetry = Telemetry()
    telemetry.closes_by_code[4008] += 1
    telemetry.age_seconds.observe(0.2, times=10)
    snapshot = json.loads(json.dumps(telemetry.snapshot()))
    assert snapshot["closes_by_code"] == {"4008": 1}
    assert 0.15 < snapshot["age_seconds_p50"] <= 0.2
    assert snapshot["flush_seconds_p99"] is None
