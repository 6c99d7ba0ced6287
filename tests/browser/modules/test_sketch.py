"""client/sketch.js, client/sketch_series.js: the sketches that a page keeps, against those of the server."""

import random

import msgspec
import pytest
from playwright.sync_api import Page

from metrics_stream.core.metrics.sketch import Sketch
from tests.support.browser_modules import run

pytestmark = pytest.mark.browser

SHARES = [0.0, 0.5, 0.95, 0.99, 1.0]


def encoded(sketch: Sketch) -> dict:
    return msgspec.to_builtins(sketch.encode(), str_keys=True)


def test_merged_sketches_have_the_quantiles_of_the_server(page: Page):
    chance = random.Random(7)
    sketches = [Sketch() for _ in range(3)]
    for sketch in sketches:
        sketch.add(0.0, count=5)
        for _ in range(500):
            sketch.add(chance.lognormvariate(3, 1.5))
    code = """
      const merged = new module.Sketch();
      for (const each of argument.sketches) merged.merge(module.decodeSketch(each));
      return {count: merged.count, quantiles: merged.quantiles(argument.shares)};
    """
    found = run(page, "client/sketch", code, {"sketches": [encoded(item) for item in sketches], "shares": SHARES})
    whole = Sketch()
    for sketch in sketches:
        whole.merge(sketch)
    assert found["count"] == len(whole) == 1515
    assert found["quantiles"] == pytest.approx([whole.quantile(share) for share in SHARES])


@pytest.mark.parametrize(
    "junk",
    [
        None,
        5,
        [],
        {},
        {"accuracy": 0.02, "bins": {"1": 1}},
        {"accuracy": 0.01},
        {"accuracy": 0.01, "bins": [1]},
        {"accuracy": 0.01, "bins": {"x": 1}},
        {"accuracy": 0.01, "bins": {"1.5": 1}},
        {"accuracy": 0.01, "bins": {"99999": 1}},
        {"accuracy": 0.01, "bins": {"1": -1}},
        {"accuracy": 0.01, "bins": {"1": "2"}},
        {"accuracy": 0.01, "bins": {}, "zeros": 0.5},
        {"accuracy": 0.01, "bins": {str(number): 1 for number in range(2049)}},
    ],
)
def test_value_that_is_not_a_sketch_is_ignored(page: Page, junk):
    assert run(page, "client/sketch", "return module.decodeSketch(argument);", junk) is None


def test_empty_sketch_has_no_quantiles(page: Page):
    code = "return module.decodeSketch(argument).quantiles([0.5]);"
    assert run(page, "client/sketch", code, encoded(Sketch())) == []


def test_store_keeps_the_tracked_sketches_of_the_window(page: Page):
    code = """
      const {Sketch} = await import("/static/metrics_stream/client/sketch.js");
      const store = new module.Store([{metricType: "system", path: "sketches.value", windowSeconds: 60}]);
      const at = (second, source, name = "value") => store.add({
        metric_type: "system", source, timestamp: new Date(1000 * second).toISOString(),
        data: {sketches: {[name]: {accuracy: 0.01, bins: {10: 1}}}},
      }, 1000 * second);
      const count = (fromSecond, source = null) => {
        const merged = new Sketch();
        const kept = store.sketches("system", "sketches.value", source);
        for (const each of kept) each.mergeInto(merged, 1000 * fromSecond, 1e12);
        return merged.count;
      };
      for (let second = 100; second < 400; second += 1) at(second, "east");
      for (let second = 390; second < 400; second += 1) at(second, "west");
      at(399, "west", "other");
      const before = [count(0), count(395), count(395, "west")];
      store.widen(6_000_000);
      for (let second = 400; second < 500; second += 1) at(second, "east");
      const wide = [count(0, "east"), store.sketches("system", "sketches.value", "east")[0].length];
      store.trim(20_000_000);
      return {before, wide, after: count(0)};
    """
    found = run(page, "client/store", code)
    # A cell is one second wide, and one more than fits the window is kept.
    assert found == {"before": [61 + 1 + 10, 10, 5], "wide": [62 + 100, 9], "after": 0}
