"""A series as paths: peaks are in it, holes stay empty, and it fits its box."""

import re

import msgspec

from metrics_stream.core.series.columns import SeriesColumns
from metrics_stream.views.sparkline import HEIGHT, WIDTH, draw


def series(buckets, mean, low=None, high=None, bucket_seconds=10.0):
    return SeriesColumns(
        metric_type="system",
        source="host1",
        row=None,
        field="throughput_tps",
        starts_at=1_000.0,
        bucket_seconds=bucket_seconds,
        buckets=buckets,
        min=low or mean,
        max=high or mean,
        mean=mean,
        last=mean,
        count=[1] * len(buckets),
    )


def points(path):
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_line_goes_from_left_to_right_and_up_from_zero():
    drawn = draw(series([0, 1, 2, 3], [0.0, 10.0, 20.0, 40.0]), 1_000.0, 1_040.0)
    assert points(drawn.line) == [(30.0, 46.0), (90.0, 35.0), (150.0, 24.0), (210.0, 2.0)]
    assert drawn.peak == 40.0


def test_band_reaches_the_peaks_that_the_mean_hides():
    drawn = draw(series([0, 1], [10.0, 10.0], low=[0.0, 5.0], high=[20.0, 100.0]), 1_000.0, 1_020.0)
    assert drawn.peak == 100.0
    assert min(y for _, y in points(drawn.band)) == 2.0
    assert min(y for _, y in points(drawn.line)) > 40.0


def test_hole_breaks_the_line():
    drawn = draw(series([0, 1, 2, 9, 10], [5.0] * 5), 1_000.0, 1_110.0)
    assert drawn.line.count("M") == drawn.band.count("M") == 2


def test_series_that_comes_every_fifth_bucket_has_no_holes():
    assert draw(series([0, 5, 10, 15], [5.0] * 4), 1_000.0, 1_160.0).line.count("M") == 1


def test_single_point_is_a_dot():
    assert draw(series([3], [5.0]), 1_000.0, 1_070.0).line == "M120.0 2.0L120.0 2.0"


def test_negative_and_constant_values_stay_in_the_box():
    for values in ([-5.0, -1.0], [0.0, 0.0], [-3.0, 8.0]):
        drawn = draw(series([0, 1], values), 1_000.0, 1_020.0)
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(drawn.line + drawn.band))


def test_what_was_recorded_outside_the_run_is_at_its_edge():
    drawn = draw(series([0, 1, 99], [1.0, 1.0, 1.0]), 1_010.0, 1_030.0)
    assert {x for x, _ in points(drawn.line)} == {0.0, 60.0, 240.0}


def test_run_without_duration_is_drawn():
    assert draw(series([0], [1.0]), 1_000.0, 1_000.0).line == "M120.0 2.0L120.0 2.0"


def test_null_ends_the_line():
    row = series([0, 1, 2, 4, 5], [1.0, 1.0, 1.0, 1.0, 1.0])
    assert draw(row, 1_000.0, 1_060.0).line.count("M") == 1
    broken = draw(msgspec.structs.replace(row, nulls=[3]), 1_000.0, 1_060.0)
    assert broken.line.count("M") == 2
