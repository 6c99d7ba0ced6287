"""charts/sparkline.js: the small line beside a number."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser

# The picture is 48 high, with a margin of 3.
TOP, FOOT = 3.0, 45.0


def heights(page: Page, points: list[Any], bounds: dict[str, Any] | None = None) -> list[float]:
    code = """
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const series = new Series({source: "s", row: null, path: "p"}, 900_000);
      for (const [second, value] of argument.points) series.add(second * 1000, value ?? NaN);
      const {line} = module.sparklinePaths(series, 0, 60_000, argument.bounds ?? {});
      return [...line.matchAll(/ ([\\d.-]+)/g)].map(([, y]) => Number(y));
    """
    return run(page, "charts/sparkline", code, {"points": points, "bounds": bounds})


def test_zero_is_at_the_foot_and_a_constant_at_its_height(page: Page):
    for value, height in [(0, FOOT), (5, TOP), (-5, FOOT)]:
        assert heights(page, [[second, value] for second in range(0, 61, 15)]) == [height] * 5


def test_small_changes_of_a_large_number_look_small(page: Page):
    drawn = heights(page, [[second, 99.2 + 0.1 * (-1) ** second] for second in range(60)])
    assert max(drawn) - min(drawn) < 0.2
    # Where zero is no plausible value, the scale begins at the bound that is nearest to it.
    points = [[second, 99.4 if second == 30 else 99] for second in range(0, 61, 15)]
    assert heights(page, points, {"minimum": 99, "maximum": 100}) == [FOOT, FOOT, TOP, FOOT, FOOT]


def test_every_column_keeps_its_extremes(page: Page):
    # Ten samples a second: about four share a column.
    values = [[tenth / 10, 50] for tenth in range(600)]
    values[301][1], values[402][1] = 100, 0
    drawn = heights(page, values)
    assert drawn.count(TOP) == 1
    assert drawn.count(FOOT) == 1
    assert len(drawn) < 330


def test_ranges_of_buckets_are_kept_and_gaps_break_the_line(page: Page):
    code = """
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const series = new Series({source: "s", row: null, path: "p"}, 900_000);
      series.fill({fromMs: 0, bucketMs: 10_000, untilMs: 60_000, buckets: [0, 1, 2], last: [5, 5, 5], min: [5, 0, 5],
                   max: [5, 10, 5]});
      series.add(40_000, NaN);
      for (const second of [41, 42]) series.add(second * 1000, 5);
      const {line} = module.sparklinePaths(series, 0, 60_000);
      return line.split("M").slice(1).map((part) => part.split("L").map((place) => Number(place.split(" ")[1])));
    """
    assert run(page, "charts/sparkline", code) == [[24, FOOT, TOP, 24, 24], [24, 24]]
