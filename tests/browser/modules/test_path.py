"""client/path.js: the field that a name means."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


LOOK_UPS = [
    ({"http.response_time.p95": 5}, "http.response_time.p95", 5),
    ({"http": {"response_time": {"p95": 6}}}, "http.response_time.p95", 6),
    ({"http.response_time": {"p95": 7}}, "http.response_time.p95", 7),
    ({"a.b": 1, "a": {"b": 2, "c": 3}}, "a.b", 1),
    ({"a.b": 1, "a": {"b": 2, "c": 3}}, "a.c", 3),
    ({"a": {"b.c": 1}, "a.b": {"c": 2}}, "a.b.c", 2),
    ({"a": {"b.c": 1}, "a.b": {"d": 2}}, "a.b.c", 1),
    ({"": {"a": 3}}, ".a", 3),
    ({"a": [1, 2]}, "a.0", None),
    ({"a": 1}, "a.b", None),
]


def test_longest_key_that_fits_is_the_one_that_a_name_means(page: Page):
    code = "return argument.map(([data, path]) => module.lookUp(data, path) ?? null)"
    assert run(page, "client/path", code, [[data, path] for data, path, _ in LOOK_UPS]) == [
        value for *_, value in LOOK_UPS
    ]


def test_key_with_dots_goes_on_live_where_the_past_ended(page: Page):
    code = """
      const path = "http.response_time.p95";
      const store = new module.Store([{metricType: "system", path, windowSeconds: 900}]);
      const series = [{metric_type: "system", source: "a", field: path, buckets: [0, 1], last: [3, 4]}];
      store.fill({from: "2026-01-01T00:00:00Z", until: "2026-01-01T00:00:02Z", bucket_seconds: 1, series});
      const timestamp = "2026-01-01T00:00:03Z";
      store.add({metric_type: "system", source: "a", timestamp, data: {[path]: 5}}, Date.parse(timestamp));
      const {readingsOf} = await import("/static/metrics_stream/client/readings.js");
      const panel = {metric_type: "system", fields: [{path, label: "p95", unit: ""}]};
      return [[...store.series("system", path)[0].values], readingsOf(store, panel, null).map(({value}) => value)];
    """
    assert run(page, "client/store", code) == [[3, 4, 5], [5]]
