"""Columns of buckets, merged in any order, widened and packed, against their values."""

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.series.columns import Column, SeriesKey, bounds_of, downsample, make_grid
from metrics_stream.core.series.packing import pack, unpack

VALUES = st.floats(-1e9, 1e9)
ARRIVALS = st.lists(st.tuples(st.integers(0, 40), st.lists(VALUES, min_size=1, max_size=3)), max_size=30)
KEY = SeriesKey("system", "web-1", None)


def column_of(decoded_metrics):
    column = Column()
    for bucket, values in decoded_metrics:
        column.add(bucket, values)
    return column


def values_by_bucket(decoded_metrics, factor=1):
    found: dict[int, list[float]] = {}
    # Within a bucket the order of arrival counts, between buckets the order of time.
    for bucket, values in sorted(decoded_metrics, key=lambda decoded: decoded[0]):
        found.setdefault(bucket // factor, []).extend(values)
    return found


def check(column, expected):
    assert list(column.buckets) == sorted(expected)
    for place, bucket in enumerate(column.buckets):
        values = expected[bucket]
        assert column.counts[place] == len(values)
        assert column.lasts[place] == values[-1]
        assert column.lows[place] == min(values)
        assert column.highs[place] == max(values)
        assert column.totals[place] == pytest.approx(sum(values), rel=1e-9, abs=1e-3)


@given(ARRIVALS)
def test_values_in_any_order_end_in_their_buckets(decoded_metrics):
    check(column_of(decoded_metrics), values_by_bucket(decoded_metrics))


@given(ARRIVALS, ARRIVALS)
def test_merging_is_as_adding_one_after_the_other(first, second):
    column = column_of(first)
    column.merge(column_of(second))
    check(column, values_by_bucket(first + second))


@given(ARRIVALS, st.integers(1, 13))
def test_widening_keeps_every_extreme(decoded_metrics, factor):
    column = column_of(decoded_metrics)
    check(column.widened(bounds_of(column.buckets, factor)), values_by_bucket(decoded_metrics, factor))


@given(ARRIVALS, ARRIVALS, st.integers(0, 40), st.integers(0, 20))
def test_replacing_leaves_the_rest_alone(before, after, first, length):
    end = first + length
    column = column_of(before)
    column.replace(first, end, column_of(after).between(first, end))
    outside = [decoded for decoded in before if not first <= decoded[0] < end]
    inside = [decoded for decoded in after if first <= decoded[0] < end]
    check(column, values_by_bucket(outside + inside))


@given(st.lists(ARRIVALS, max_size=4))
def test_columns_survive_packing_to_the_last_bit(many):
    columns = {f"field_{number}": column_of(decoded_metrics) for number, decoded_metrics in enumerate(many)}
    found, _ = unpack(pack(columns))
    assert found.keys() == {field for field, column in columns.items() if column.buckets}
    for field, column in found.items():
        for name in Column.__slots__:
            assert getattr(column, name) == getattr(columns[field], name)


def test_packed_columns_are_the_same_on_every_machine():
    column = column_of([(1, [1.5]), (2, [-2.25]), (300, [1e300])])
    little_endian = [struct.pack("<d", value) for value in (1.5, -2.25, 1e300)]
    # The lowest bytes of all values come first.
    assert bytes(value[place] for place in range(8) for value in little_endian) in pack({"load": column}, level=0)


def test_only_selected_fields_are_unpacked():
    columns = {"load": column_of([(1, [1.0])]), "cost.total": column_of([(1, [2.0])]), "cost": column_of([(2, [3.0])])}
    assert list(unpack(pack(columns), fields=("cost.total",)).columns) == ["cost.total"]
    assert sorted(unpack(pack(columns), fields=("cost",)).columns) == ["cost", "cost.total"]


def test_integer_that_is_no_float_changes_nothing():
    column = column_of([(1, [1, 2])])
    with pytest.raises(OverflowError):
        column.add(2, [1, 10**400, 3])
    with pytest.raises(OverflowError):
        column.add(2, [10**400])
    check(column, {1: [1, 2]})


@given(st.floats(0, 4e9), st.floats(0, 1e6), st.sampled_from([1, 10, 60]), st.integers(2, 2000))
def test_grid_covers_the_time_with_at_most_the_points_allowed(since, seconds, bucket_seconds, max_points):
    until = since + seconds
    grid = make_grid(since, until, bucket_seconds=bucket_seconds, max_points=max_points)
    width = grid.factor * bucket_seconds
    assert 1 <= grid.length <= max_points
    assert grid.first * width <= since < (grid.first + 1) * width
    assert (grid.first + grid.length - 1) * width <= until < (grid.first + grid.length) * width


def test_grid_is_as_narrow_as_it_may_be():
    assert make_grid(900, 1799.9, bucket_seconds=1, max_points=300) == (300, 300, 3)
    assert make_grid(0, 3599, bucket_seconds=10, max_points=300) == (0, 180, 2)
    assert make_grid(5, 5, bucket_seconds=1, max_points=300) == (5, 1, 1)


def test_downsampled_series_share_their_buckets():
    columns = {"load": column_of([(10, [1.0]), (11, [9.0, 2.0]), (13, [3.0])]), "queue": column_of([(12, [4])])}
    grid = make_grid(10, 13, bucket_seconds=1, max_points=2)
    load, queue = downsample(KEY, columns, grid, bucket_seconds=1)
    assert (load.field, load.starts_at, load.bucket_seconds) == ("load", 10, 2)
    assert (load.buckets, load.min, load.max, load.mean, load.last, load.count) == (
        [0, 1],
        [1.0, 3.0],
        [9.0, 3.0],
        [4.0, 3.0],
        [2.0, 3.0],
        [3, 1],
    )
    assert (queue.starts_at, queue.bucket_seconds, queue.buckets, queue.last) == (10, 2, [1], [4.0])
    assert list(downsample(KEY, columns, grid, bucket_seconds=1, fields=("queue",))) == [queue]


def test_column_of_single_values_is_kept_once():
    column = column_of([(1, [1.0]), (2, [2.0])])
    assert column.is_single
    assert column.lows is column.lasts
    column.add(2, [5.0])
    assert not column.is_single
    assert column.lasts == array("d", [1.0, 5.0])
