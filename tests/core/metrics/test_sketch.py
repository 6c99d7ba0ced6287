"""Percentiles of sketches, merged in any order, against those of all values."""

import json
import math
import random
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics_stream.core.errors import SketchError
from metrics_stream.core.metrics.percentiles import rank_of
from metrics_stream.core.metrics.sketch import ACCURACY, LARGEST, MAX_BINS, SMALLEST, Sketch, decode_sketch

# The bounds of the bins are rounded like every float.
WITHIN = ACCURACY + 1e-9

SHARES = [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]

DISTRIBUTIONS = {
    "lognormal": lambda source: source.lognormvariate(3, 1),
    "uniform": lambda source: source.uniform(0, 500),
    "heavy-tailed": lambda source: source.paretovariate(0.7),
    "constant": lambda source: 42.0,
    "with zeros": lambda source: max(0.0, source.uniform(-20, 20)),
    "very small": lambda source: source.expovariate(1e5),
}


def samples(name, count, seed=1):
    source = random.Random(seed)
    return [DISTRIBUTIONS[name](source) for _ in range(count)]


def sketch_of(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


def exact(values, share):
    return sorted(values)[rank_of(share, len(values))]


def assert_agree(sketch, values, shares=SHARES):
    assert len(sketch) == len(values)
    for share in shares:
        assert sketch.quantile(share) == pytest.approx(exact(values, share), rel=WITHIN, abs=SMALLEST), share


def through_json(sketch):
    return decode_sketch(json.loads(msgspec.json.encode(sketch.encode())))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [1, 2, 10, 5_000])
def test_every_percentile_is_within_the_accuracy_of_the_exact_one(name, count):
    values = samples(name, count)
    assert_agree(sketch_of(values), values)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_merging_in_any_order_and_through_json_gives_the_same_percentiles(name, seed):
    values = samples(name, 3_000, seed)
    source = random.Random(seed)
    cuts = sorted(source.sample(range(len(values)), 20))
    parts = [values[start:end] for start, end in zip([0, *cuts], [*cuts, len(values)], strict=True)]
    source.shuffle(parts)
    merged = Sketch()
    for part in parts:
        merged.merge(through_json(sketch_of(part)))
    assert_agree(merged, values)
    assert merged.encode() == sketch_of(values).encode()


@hypothesis_settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(min_value=0, max_value=1e12), max_size=30), min_size=1, max_size=6),
    st.floats(min_value=0, max_value=1),
    st.randoms(use_true_random=False),
)
def test_any_values_merged_in_any_order_are_within_the_accuracy(parts, share, source):
    values = [value for part in parts for value in part]
    merged = Sketch()
    for part in source.sample(parts, len(parts)):
        merged.merge(sketch_of(part))
    if values:
        assert_agree(merged, values, [share])
    else:
        assert merged.quantile(share) is None


def test_no_percentile_is_over_the_highest_value():
    sketch = sketch_of([10.0, 20.0, 30.0])
    assert sketch.quantile(1.0) <= 30.0
    sketch.merge(through_json(sketch_of([25.0])))
    assert sketch.quantile(1.0) <= 30.0


def test_without_a_highest_value_in_one_of_the_merged_the_percentiles_stay_within_the_accuracy():
    sketch = sketch_of([10.0])
    sketch.merge(msgspec.structs.replace(sketch_of([1_000.0]).encode(), max=None))
    assert sketch.quantile(1.0) == pytest.approx(1_000.0, rel=WITHIN)
    assert through_json(sketch).max is None


def test_a_value_that_is_not_positive_counts_as_zero_or_not_at_all():
    sketch = sketch_of([0, -3.5, SMALLEST, math.nan, math.inf, LARGEST, 5])
    assert len(sketch) == 4
    assert sketch.quantile(0.5) == 0.0
    assert sketch.quantile(1.0) == pytest.approx(5.0, rel=WITHIN)


def test_equal_values_are_counted_at_once():
    at_once = Sketch()
    at_once.add(50.0, count=3)
    at_once.add(0.0, count=2)
    assert at_once.encode() == sketch_of([50.0, 0.0, 50.0, 0.0, 50.0]).encode()
    with pytest.raises(ValueError, match="count is 0; it must be at least 1"):
        at_once.add(1.0, count=0)


def test_beyond_the_bound_the_lowest_bins_are_joined_and_high_percentiles_stay():
    values = [1.03**power for power in range(-500, 2_000)]
    sketch = sketch_of([*values, *values])
    other = sketch_of(values[:1_000])
    sketch.merge(other)
    assert sketch.bin_count <= MAX_BINS
    assert_agree(sketch, [*values, *values, *values[:1_000]], [0.5, 0.9, 0.99, 1.0])


def test_taking_leaves_an_empty_sketch():
    sketch = sketch_of([1.0, 2.0])
    taken = sketch.take()
    assert (len(taken), len(sketch)) == (2, 0)
    assert sketch.quantile(0.5) is None
    sketch.add(3.0)
    assert sketch.quantile(1.0) == pytest.approx(3.0, rel=WITHIN)
    assert taken.quantile(1.0) == pytest.approx(2.0, rel=WITHIN)


def test_no_value_is_lost_between_threads_that_add_and_take():
    sketch, total, taken = Sketch(), Sketch(), []
    threads = [
        threading.Thread(target=lambda seed=seed: [sketch.add(value) for value in samples("lognormal", 5_000, seed)])
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.append(sketch.take())
    for part in [*taken, sketch.take()]:
        total.merge(part)
    assert_agree(total, [value for seed in range(4) for value in samples("lognormal", 5_000, seed)])


def test_the_encoding_is_the_documented_one():
    sketch = sketch_of([0.0, 10.0, 10.0, 100.0])
    assert json.loads(msgspec.json.encode(sketch.encode())) == {
        "accuracy": 0.01,
        "bins": {"116": 2, "231": 1},
        "zeros": 1,
        "max": 100.0,
    }
    # The documented end of bin n.
    assert [math.ceil(math.log(value) / math.log(1.01 / 0.99)) for value in (10.0, 100.0)] == [116, 231]


WRONG = [
    None,
    5,
    [],
    {},
    {"bins": {"1": 1}},
    {"accuracy": 0.02, "bins": {"1": 1}},
    {"accuracy": 0.01},
    {"accuracy": 0.01, "bins": [1]},
    {"accuracy": 0.01, "bins": {"x": 1}},
    {"accuracy": 0.01, "bins": {"1": -1}},
    {"accuracy": 0.01, "bins": {"1": 1.5}},
    {"accuracy": 0.01, "bins": {"1": None}},
    {"accuracy": 0.01, "bins": {"1": 10**30}},
    {"accuracy": 0.01, "bins": {"99999999": 1}},
    {"accuracy": 0.01, "bins": {"1": 1}, "zeros": -1},
    {"accuracy": 0.01, "bins": {"1": 1}, "max": "x"},
]


@pytest.mark.parametrize("value", WRONG, ids=json.dumps)
def test_a_malformed_sketch_is_refused(value):
    with pytest.raises(SketchError):
        decode_sketch(value)


def test_the_ends_of_what_is_counted_can_be_told():
    sketch = sketch_of([SMALLEST * 1.001, LARGEST * 0.999])
    assert_agree(sketch, [SMALLEST * 1.001, LARGEST * 0.999], [0.0, 1.0])
    assert through_json(sketch) == sketch.encode()
