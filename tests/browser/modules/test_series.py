"""client/series.js, client/buckets.js, client/columns.js: points over time, joined with summaries of the past."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


ONE_SERIES = "const series = new module.Series({metricType: 'm', source: 's', row: null, path: 'p'}, 300_000);"


def test_series_keeps_its_window_and_one_point_before_it(page: Page):
    code = f"""{ONE_SERIES}
      for (let second = 0; second <= 1_000; second += 10) series.add(second * 1000, second);
      return [series.length, series.times[0], series.times.at(-1)];
    """
    assert run(page, "client/series", code) == [32, 690_000, 1_000_000]


def test_full_window_takes_no_more_memory_with_time(page: Page):
    code = f"""{ONE_SERIES}
      for (let tenth = 0; tenth <= 20_000; tenth += 1) series.add(tenth * 100, tenth);
      return [series.length, series.capacity, series.times[0], series.values.at(-1)];
    """
    assert run(page, "client/series", code) == [3002, 4096, 1_699_900, 20_000]


def test_late_points_are_put_in_their_place(page: Page):
    code = f"""{ONE_SERIES}
      for (const second of [1, 2, 5, 3, 4]) series.add(second * 1000, second);
      return [[...series.values], series.lastValue];
    """
    assert run(page, "client/series", code) == [[1, 2, 3, 4, 5], 5]


def test_gap_is_a_null_and_foreign_rows_are_undefined(page: Page):
    code = """
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const one = new Series({source: "one", row: null, path: "p"}, 300_000);
      const two = new Series({source: "two", row: null, path: "p"}, 300_000);
      for (const second of [1, 2, 3, 4, 10, 11]) one.add(second * 1000, second);
      two.add(2500, 7);
      const [times, first, second] = module.joinColumns([one, two], 0);
      const word = (value) => (value === undefined ? "-" : value);
      return {times, first: first.map(word), second: second.map(word)};
    """
    assert run(page, "client/columns", code) == {
        "times": [1, 2, 2.5, 3, 4, 4.001, 10, 11],
        "first": [1, 2, "-", 3, 4, None, 10, 11],
        "second": ["-", "-", 7, "-", "-", "-", "-", "-"],
    }


def test_short_pause_is_no_gap(page: Page):
    code = """
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const series = new Series({source: "one", row: null, path: "p"}, 300_000);
      for (const second of [0, 5, 10, 15, 20, 33]) series.add(second * 1000, second);
      return module.joinColumns([series], 0)[1];
    """
    assert run(page, "client/columns", code) == [0, 5, 10, 15, 20, 33]


SERIES = """
  const newSeries = (windowMs = 900_000) => new module.Series({source: "s", row: null, path: "p"}, windowMs);
  const pointsOf = ({times, values, lows, highs}) => [...times].map((timeMs, index) => {
    const numbers = [values[index], lows[index], highs[index]].map((each) => Number.isNaN(each) ? null : each);
    return [timeMs / 1000, ...numbers];
  });
"""


def test_buckets_become_points_with_their_extremes(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      const summary = {{fromMs: 100_000, bucketMs: 2000, untilMs: 105_200, buckets: [0, 1, 2]}};
      series.fill({{...summary, last: [5, 6, 7], min: [1, 6, 7], max: [9, 6, 8]}});
      return [pointsOf(series), series.lastValue];
    """
    assert run(page, "client/series", code) == [[[101, 5, 1, 9], [103, 6, 6, 6], [105, 7, 7, 8]], 7]


def test_existing_points_stay_and_take_over_the_extremes_of_their_bucket(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (const [second, value] of [[102, 5], [102.9, 6], [103.5, 7]]) series.add(second * 1000, value);
      const summary = {{fromMs: 100_000, bucketMs: 1000, untilMs: 104_000, buckets: [1, 2, 3]}};
      const fill = () => series.fill({{...summary, last: [4, 6, 7], min: [4, 5, 2], max: [4, 6, 7]}});
      fill();
      const once = pointsOf(series);
      fill();
      return [once, pointsOf(series)];
    """
    once, twice = run(page, "client/series", code)
    assert once == [[101.5, 4, 4, 4], [102, 5, 5, 5], [102.9, 6, 6, 6], [103.5, 7, 2, 7]]
    assert twice == once


@pytest.mark.parametrize(
    ("bucket_seconds", "buckets", "breaks"),
    [
        (1, [0, 1, 2, 3], []),
        (1, [0, 1, 2, 9, 10], [9]),
        (10, [0, 1, 2, 3], []),
        (10, [0, 1, 2, 6, 7], [6]),
        (1, [0, 10, 20, 30], []),
        (1, [0, 10, 20, 60, 70], [60]),
    ],
)
def test_stretch_without_buckets_is_a_gap(page: Page, bucket_seconds: int, buckets: list[int], breaks: list[int]):
    code = f"""{SERIES}
      const [bucketSeconds, buckets] = argument;
      const series = newSeries();
      const bucketMs = bucketSeconds * 1000;
      series.fill({{fromMs: 0, bucketMs, untilMs: 900_000, buckets, last: buckets.map(() => 1)}});
      for (let second = 1; second < 9; second += 1) series.add((buckets.at(-1) + 1) * bucketMs + second * 500, 1);
      const {{joinColumns}} = await import("/static/metrics_stream/client/columns.js");
      const [times, values] = joinColumns([series], 0);
      return times.filter((_, row) => values[row - 1] === null).map((time) => Math.floor(time / bucketSeconds));
    """
    assert run(page, "client/series", code, [bucket_seconds, buckets]) == breaks


def test_gap_between_points_stays_one_when_buckets_join_them(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (const second of [100, 101, 102, 110, 111, 112]) series.add(second * 1000, second);
      const summary = {{fromMs: 100_000, bucketMs: 1000, untilMs: 121_000, last: [112, 120]}};
      series.fill({{...summary, buckets: [12, 20]}});
      return pointsOf(series).map(([second, value]) => [second, value]);
    """
    assert run(page, "client/series", code) == [
        [100, 100],
        [101, 101],
        [102, 102],
        [102.001, None],
        [110, 110],
        [111, 111],
        [112, 112],
        [112.001, None],
        [120.5, 120],
    ]


def test_ended_line_breaks_however_soon_it_continues(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (const second of [1, 2, 3]) series.add(second * 1000, second);
      series.break();
      series.break();
      series.add(4000, 4);
      const {{lineGeometry}} = await import("/static/metrics_stream/client/line_geometry.js");
      const {{times, traces}} = lineGeometry([series], 0, 5000, 100);
      return [times, traces[0].values];
    """
    assert run(page, "client/series", code) == [[1, 2, 3, 3.001, 4], [1, 2, 3, None, 4]]


def test_geometry_of_a_stretch_leaves_out_later_points(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      for (let tenth = 0; tenth < 600; tenth += 1) series.add(tenth * 100, tenth === 599 ? 1000 : tenth);
      const {{lineGeometry, boundsOf}} = await import("/static/metrics_stream/client/line_geometry.js");
      const dense = lineGeometry([series], 10_000, 20_000, 20);
      const sparse = lineGeometry([series], 10_000, 12_000, 400);
      return [dense.traces[0].dense, boundsOf(dense.traces), sparse.traces[0].dense, boundsOf(sparse.traces)];
    """
    dense, bounds, sparse, fine_bounds = run(page, "client/series", code)
    assert (dense, sparse) == (True, False)
    assert 90 <= bounds[0] <= 100 < 200 <= bounds[1] <= 210
    assert 90 <= fine_bounds[0] <= 100 < 120 <= fine_bounds[1] <= 130


def test_dense_points_keep_both_extremes(page: Page):
    code = f"""{SERIES}
      const series = newSeries(3_600_000);
      for (const [tenth, value] of [[0, 5], [1, -40], [2, 90], [3, 6], [10, 7]]) series.add(tenth * 100, value);
      return pointsOf(series);
    """
    assert run(page, "client/series", code) == [[0, 6, -40, 90], [1, 7, 7, 7]]


def test_ended_line_continues_where_the_server_has_the_missing_metrics(page: Page):
    code = f"""{SERIES}
      const joined = (buckets, bucketMs = 1000) => {{
        const series = newSeries();
        for (const second of [10.2, 11.2]) series.add(second * 1000, second);
        series.break();
        for (const second of [13.2, 14.2]) series.add(second * 1000, second);
        series.break();
        series.fill({{fromMs: 0, bucketMs, untilMs: 15_000, buckets, last: buckets.map(() => 5)}});
        return pointsOf(series).map(([, value]) => value);
      }};
      return [joined([10, 11, 12, 13, 14]), joined([10, 11, 13, 14]), joined([1], 10_000)];
    """
    filled, lacking, within = run(page, "client/series", code)
    assert filled == [10.2, 11.2, 5, 13.2, 14.2, None]
    assert lacking == [10.2, 11.2, None, 13.2, 14.2, None]
    assert within == [10.2, 11.2, 13.2, 14.2, None]


def test_null_ends_the_line_live_and_in_the_past_alike(page: Page):
    code = f"""{SERIES}
      const numbers = [5, 6, null, 7, null, null, 8, 9];
      const live = newSeries();
      numbers.forEach((value, second) => live.add(second * 1000 + 500, value ?? NaN));
      const summary = {{fromMs: 0, bucketMs: 1000, untilMs: 8000}};
      const places = numbers.map((value, second) => (value === null ? null : second)).filter((each) => each !== null);
      const last = places.map((second) => numbers[second]);
      const nulls = numbers.map((value, second) => (value === null ? second : null)).filter((each) => each !== null);
      const fill = (series) => series.fill({{...summary, buckets: places, last, nulls}});
      const filled = newSeries();
      fill(filled);
      const again = newSeries();
      numbers.slice(5).forEach((value, index) => again.add((index + 5) * 1000 + 500, value ?? NaN));
      fill(again);
      fill(again);
      const {{lineGeometry}} = await import("/static/metrics_stream/client/line_geometry.js");
      const piecesOf = (series) => {{
        const [{{values}}] = lineGeometry([series], 0, 8000, 600).traces;
        return values.map((value) => value ?? "|").join(" ").replace(/\\|( \\|)+/g, "|");
      }};
      return [live, filled, again].map(piecesOf);
    """
    live, filled, again = run(page, "client/series", code)
    assert live == "5 6 | 7 | 8 9"
    assert filled == live
    assert again == live


def test_null_before_the_first_value_and_after_the_last_leaves_the_line_whole(page: Page):
    code = f"""{SERIES}
      const series = newSeries();
      series.fill({{fromMs: 0, bucketMs: 1000, untilMs: 8000, buckets: [2, 3], last: [7, 8], nulls: [0, 1, 4]}});
      series.add(5500, 9);
      return pointsOf(series).map(([, value]) => value);
    """
    assert run(page, "client/series", code) == [7, 8, None, 9]
