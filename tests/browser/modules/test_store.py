"""client/store.js, client/feed.js, client/readings.js: the metrics that a page keeps."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


def test_day_of_samples_stays_bounded(page: Page):
    code = """
      const store = new module.Store([{metricType: "system", path: "value", windowSeconds: 300},
                                      {metricType: "agent", path: "load", windowSeconds: 300}]);
      let nowMs = Date.UTC(2026, 0, 1);
      for (let step = 0; step < 864_00; step += 1) {
        nowMs += 1000;
        const timestamp = new Date(nowMs).toISOString();
        const source = `run-${Math.floor(step / 200)}`;
        store.add({metric_type: "system", timestamp, source, data: {value: step}}, nowMs);
        const data = [{agent_id: `a-${step}`, load: 0.5}];
        store.add({metric_type: "agent", timestamp, source: "one", data}, nowMs);
        if (step % 10 === 0) store.trim(nowMs);
      }
      const {Series} = await import("/static/metrics_stream/client/series.js");
      const busy = new Series({metricType: "m", source: "s", row: null, path: "p"}, 3_600_000);
      for (let step = 0; step < 864_000; step += 1) busy.add(step * 100, step);
      return {series: store.seriesCount, sources: store.sources("system").length,
              agents: store.latest("agent").length, points: busy.length, capacity: busy.capacity};
    """
    found = run(page, "client/store", code)
    assert found["series"] <= 8192
    assert found["sources"] <= 1000
    assert found["agents"] <= 5000
    assert found["points"] <= 4096
    assert found["capacity"] <= 8192


def test_metric_of_a_rare_frame_counts_as_received_at_its_own_time(page: Page):
    code = """
      const at = (seconds) => new Date(seconds * 1000).toISOString();
      const metric = (source, seconds) => ({metric_type: "system", timestamp: at(seconds), source, data: {value: 1}});
      const store = new module.Store([]);
      store.add(metric("dead", 1), 12_000, 2_000);
      store.add(metric("late", 5), 12_000, 2_000);
      store.add(metric("good", 11), 12_000, 2_000);
      store.add(metric("ahead", 99), 12_000, 2_000);
      store.add(metric("usual", 5), 12_000);
      return store.latest("system").map(({source, receivedAtMs}) => [source, receivedAtMs]);
    """
    assert run(page, "client/store", code) == [
        ["ahead", 12_000],
        ["dead", 2_000],
        ["good", 11_000],
        ["late", 5_000],
        ["usual", 12_000],
    ]


def test_value_goes_on_when_a_clock_that_was_ahead_is_set_right(page: Page):
    code = """
      const store = new module.Store([{metricType: "system", path: "value", windowSeconds: 300}]);
      const add = (nowMs, aheadMs, value) => store.add({
        metric_type: "system", source: "a", timestamp: new Date(nowMs + aheadMs).toISOString(), data: {value},
      }, nowMs);
      const seen = () => [store.latest("system")[0].data.value, store.newest("system").timestampMs];
      add(1_000_000, 300_000, 1);
      const before = seen();
      for (let second = 1; second <= 4; second += 1) add(1_000_000 + 1000 * second, -50, 1 + second);
      const after = seen();
      // What is only late does not come before what is newer.
      add(1_004_500, -2_000, 9);
      return [before, after, seen()];
    """
    assert run(page, "client/store", code) == [[1, 1_300_000], [5, 1_003_950], [5, 1_003_950]]


@pytest.mark.parametrize(
    ("warning", "critical", "levels"),
    [
        (80, 95, ["good", "warn", "bad"]),
        (90, 85, ["bad", "warn", "good"]),
        (None, 95, ["good", "good", "bad"]),
        (80, None, ["good", "warn", "warn"]),
        (None, None, ["none", "none", "none"]),
    ],
)
def test_thresholds_know_which_way_is_bad(page: Page, warning: float | None, critical: float | None, levels: list[str]):
    code = "return [79, 88, 95].map((value) => module.levelOf(value, argument))"
    assert run(page, "client/levels", code, {"warning_at": warning, "critical_at": critical}) == levels


def test_feed_shows_a_new_time_only_when_it_is_filled(page: Page):
    code = """
      const feed = new module.Feed([{metricType: "system", path: "value", windowSeconds: 300}]);
      const metric = (seconds, value) => ({
        metric_type: "system", source: "a", timestamp: new Date(seconds * 1000).toISOString(), data: {value},
      });
      const word = (value) => (Number.isNaN(value) ? null : value);
      const seen = () => {
        const [{values}] = feed.store.series("system", "value");
        return [feed.isFilling, ...[...values].map(word)];
      };
      feed.target.add(metric(1000, 1), 1_000_000);
      feed.expect(["system"], {windowMs: 300_000, isAfresh: true});
      feed.target.add(metric(500, 5), Infinity, -Infinity);
      const before = seen();
      const series = [{metric_type: "system", source: "a", field: "value", buckets: [0, 1], last: [3, 4]}];
      const part = {type: "backfill", metric_types: ["system"], bucket_seconds: 1,
                    from: new Date(490_000).toISOString(), until: new Date(500_000).toISOString()};
      feed.fill({...part, series, done: false});
      const between = seen();
      feed.fill({...part, series: [], done: true});
      return [before, between, seen(), feed.store.firstMs];
    """
    assert run(page, "client/feed", code) == [[True, 1], [True, 1], [False, 3, 4, None, 5], 490_500]


def test_percentiles_of_a_run_are_drawn_as_they_were_and_the_worst_is_named(page: Page):
    code = """
      const store = new module.Store([{metricType: "system", path: "p99_ms", windowSeconds: 900}]);
      const series = ["east", "west"].map((source, index) => ({
        metric_type: "system", source, field: "p99_ms", buckets: [0, 1], last: [3, 3], min: [2, 2], max: [9, 8],
        percentile: index ? [9, 8] : [5, 6], ...(index ? {is_worst: true} : {}),
      }));
      store.fill({from: "2026-01-01T00:00:00Z", until: "2026-01-01T00:01:00Z", bucket_seconds: 10, series});
      const {linesOf, seriesOf} = await import("/static/metrics_stream/client/readings.js");
      const panel = {metric_type: "system", fields: [{path: "p99_ms", label: "p99"}]};
      const lines = linesOf(seriesOf(store, panel, null), panel);
      return lines.map(({label, series}) => [label, [...series.values], [...series.lows], [...series.highs]]);
    """
    assert run(page, "client/store", code) == [
        ["east", [5, 6], [2, 2], [9, 8]],
        ["west (worst)", [9, 8], [2, 2], [9, 8]],
    ]


def test_units_and_windows_are_kept_beside_the_newest_data_and_the_series(page: Page):
    code = """
      const tracks = ["a", "b"].map((path) => ({metricType: "system", path, windowSeconds: 60}));
      const store = new module.Store(tracks);
      const said = () => [
        store.latest("system").map(({units, windows}) => [units, windows]),
        ["a", "b"].map((path) => store.series("system", path).map((one) => [one.unit, one.windowSeconds])),
      ];
      const metric = (data, stated) => ({metric_type: "system", source: "gen", timestamp: "", data, ...stated});
      store.add(metric({a: 1, b: 1}, {}), 1_000);
      const before = said();
      store.add(metric({a: 2, b: 1}, {units: {a: "MB"}, windows: {b: 10}}), 2_000);
      store.add(metric({b: 3}, {units: {b: "ms"}}), 3_000);
      return [before, said()];
    """
    assert run(page, "client/store", code) == [
        [[[{}, {}]], [[[None, None]], [[None, None]]]],
        [[[{"a": "MB", "b": "ms"}, {"b": 10}]], [[["MB", None]], [["ms", 10]]]],
    ]
    code = """
      const store = new module.Store([{metricType: "system", path: "a", windowSeconds: 60}]);
      const series = [{metric_type: "system", source: "gen", field: "a", buckets: [0], last: [3], unit: "MB",
                       window_seconds: 10}];
      store.fill({from: "2026-01-01T00:00:00Z", until: "2026-01-01T00:01:00Z", bucket_seconds: 10, series});
      return store.series("system", "a").map((one) => [one.unit, one.windowSeconds]);
    """
    assert run(page, "client/store", code) == [["MB", 10]]
