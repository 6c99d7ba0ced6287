"""client/line_geometry.js, charts/strokes.js: the lines of a chart, and how they are drawn."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


GEOMETRY = """
  const {Series} = await import("/static/metrics_stream/client/series.js");
  const lineOf = (points) => {
    const series = new Series({source: "s", row: null, path: "p"}, 300_000);
    for (const [seconds, value] of points) series.add(seconds * 1000, value);
    return series;
  };
  const every = (step, until, value) => Array.from({length: until / step}, (_, index) => [index * step, value(index)]);
  const word = (value) => (value === undefined ? "-" : value);
"""


def test_points_denser_than_pixels_become_the_columns_that_they_cover(page: Page):
    code = f"""{GEOMETRY}
      const points = every(0.1, 60, (index) => (index === 305 ? 90 : index === 307 ? -9 : 10 + (index % 2)));
      const {{times, traces: [trace]}} = module.lineGeometry([lineOf(points)], 0, 60_000, 60);
      const row = times.findIndex((time) => time > 30);
      return [times.length, times[row], trace.dense, trace.lows[row], trace.highs[row], trace.values[row],
              trace.lows[row + 1], trace.highs[row + 1]];
    """
    assert run(page, "client/line_geometry", code) == [62, 30.5, True, -9, 90, 11, 10, 11]


def test_geometry_stays_as_wide_as_the_screen_however_many_points_there_are(page: Page):
    code = f"""{GEOMETRY}
      const series = lineOf(every(0.05, 300, (index) => index));
      return [series.length, module.lineGeometry([series, series], 0, 300_000, 390).times.length];
    """
    assert run(page, "client/line_geometry", code) == [3000, 392]


def test_points_rarer_than_pixels_are_drawn_one_by_one(page: Page):
    code = f"""{GEOMETRY}
      const {{times, firstColumn, traces}} = module.lineGeometry([lineOf(every(1, 60, () => 7))], 0, 60_000, 390);
      return [times.length, times[10], firstColumn, traces[0].dense, traces[0].lows === traces[0].values];
    """
    assert run(page, "client/line_geometry", code) == [60, 10, 0, False, True]


def test_gap_leaves_columns_empty_beside_a_line_that_goes_on(page: Page):
    code = f"""{GEOMETRY}
      const whole = every(0.1, 60, () => 1);
      const broken = whole.filter(([seconds]) => seconds < 20 || seconds > 30);
      const rare = every(2, 60, () => 3);
      const list = [lineOf(whole), lineOf(broken), lineOf(rare), lineOf([...broken, [25, NaN]])];
      const {{times, traces}} = module.lineGeometry(list, 0, 60_000, 60);
      const first = times.findIndex((time) => time > 19);
      return traces.map((trace) => trace.values.slice(first, first + 8).map(word));
    """
    assert run(page, "client/line_geometry", code) == [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [1, None, "-", "-", "-", "-", "-", "-"],
        ["-", 3, "-", 3, "-", 3, "-", 3],
        [1, None, "-", "-", "-", "-", None, None],
    ]


def test_stacked_lines_stand_on_the_last_value_of_the_ones_before(page: Page):
    code = """
      const [_, none] = [undefined, null];
      const trace = (values, lows = values, highs = values) => ({values, lows, highs, dense: false});
      const below = trace([1, _, none, 2], [0, _, none, 2], [3, _, none, 2]);
      const {traces} = module.stack({times: [1, 2, 3, 4], firstColumn: 0, traces: [below, trace([10, 20, 30, _])]});
      return [traces.map(({values, lows, highs}) => [values, lows, highs]), module.boundsOf(traces)];
    """
    assert run(page, "client/line_geometry", code) == [
        [
            [[1, 1, None, 2], [0, 1, None, 2], [3, 1, None, 2]],
            [[11, 21, 30, 32], [11, 21, 30, 32], [11, 21, 30, 32]],
        ],
        [0, 32],
    ]


CANVAS = """
  const ctx = Object.assign(document.createElement("canvas"), {width: 60, height: 40}).getContext("2d");
  const inked = (x, y) => ctx.getImageData(x, y, 1, 1).data[3] > 200;
  const rows = Array.from({length: 60}, (_, row) => row);
  const place = {xs: rows.map((row) => row + 0.5), y: (value) => 40 - value};
  const style = {colour: "rgb(0, 0, 255)", width: 2, dashed: false, firstColumn: 0};
"""


def test_dense_line_is_drawn_with_its_spikes_and_without_its_gaps(page: Page):
    code = f"""{CANVAS}
      const values = rows.map((row) => (row === 40 || row === 41 ? null : 10));
      const highs = rows.map((row) => (row === 20 ? 35 : values[row]));
      module.drawLine(ctx, {{values, lows: values, highs, dense: true}}, place, style);
      return [[5, 30], [5, 20], [20, 15], [40, 30], [45, 30]].map(([x, y]) => inked(x, y));
    """
    assert run(page, "charts/strokes", code) == [True, False, True, False, True]


def test_ranges_of_points_are_a_soft_band_and_no_needles(page: Page):
    code = f"""{CANVAS}
      // A point every ten pixels: two with a range, one with a range as high as the line, a gap, one more range.
      const wide = {{xs: rows.map((row) => 10 * row), y: place.y}};
      const values = [10, 10, 10, 10, null, 10, 10];
      const highs = [10, 35, 30, 11, null, 10, 30];
      const lows = [10, 10, 5, 10, null, 10, 10];
      const trace = {{values, lows, highs, dense: false}};
      module.fillRanges(ctx, trace, wide, {{colour: "rgba(0, 0, 255, 0.25)", least: 2}});
      module.drawLine(ctx, trace, wide, style);
      const ink = (x, y) => ctx.getImageData(x, y, 1, 1).data[3];
      return [[15, 15], [20, 15], [17, 32], [29, 29], [30, 26], [45, 20], [55, 22], [58, 15], [5, 30]]
        .map(([x, y]) => ink(x, y));
    """
    between, at_range, below, _, alone, gap, rising, spike, line = run(page, "charts/strokes", code)
    soft = range(50, 80)
    assert between in soft
    assert at_range in soft
    assert below in soft
    assert spike in soft
    assert rising in soft
    assert alone == gap == 0
    assert line > 200


def test_line_keeps_its_character_where_the_past_in_buckets_ends(page: Page):
    code = f"""{GEOMETRY}
      const series = lineOf([]);
      // Two samples a second: the past came in buckets of a second, then each sample by itself.
      const buckets = Array.from({{length: 30}}, (_, index) => index);
      series.fill({{fromMs: 0, bucketMs: 1000, untilMs: 30_000, buckets, last: buckets.map(() => 9),
                   min: buckets.map(() => 1), max: buckets.map(() => 9)}});
      for (let half = 60; half < 120; half += 1) series.add(half * 500 + 100, half % 2 ? 9 : 1);
      const shapeOf = (fromMs, toMs) => {{
        const {{traces: [{{values, lows, highs, dense}}]}} = module.lineGeometry([series], fromMs, toMs, 600);
        const seen = new Set(values.map((value, row) => `${{lows[row]}} ${{value}} ${{highs[row]}}`));
        return [dense, values.length, [...seen]];
      }};
      const together = shapeOf(0, 60_000);
      const [, , liveOnly] = shapeOf(40_000, 60_000);
      return [together, liveOnly];
    """
    together, live_only = run(page, "client/line_geometry", code)
    assert together == [False, 60, ["1 9 9"]]
    assert sorted(live_only) == ["1 1 1", "9 9 9"]


@pytest.mark.parametrize("dense", [True, False])
def test_dashes_of_a_line_leave_gaps(page: Page, dense: bool):
    code = f"""{CANVAS}
      const values = rows.map(() => 10);
      module.drawLine(ctx, {{values, lows: values, highs: values, dense: argument}}, place, {{...style, dashed: true}});
      return rows.slice(1, 55).filter((x) => inked(x, 30)).length;
    """
    assert 20 <= run(page, "charts/strokes", code, dense) <= 32


@pytest.mark.parametrize("dense", [True, False])
def test_area_ends_at_the_line_below(page: Page, dense: bool):
    code = f"""{CANVAS}
      const level = (value) => ({{values: rows.map(() => value), highs: rows.map(() => value), dense: argument}});
      const ground = {{colour: "rgb(0, 0, 255)", floor: 0, below: level(10)}};
      module.fillArea(ctx, level(30), place, ground);
      return [inked(30, 5), inked(30, 20), inked(30, 35)];
    """
    assert run(page, "charts/strokes", code, dense) == [False, True, False]
