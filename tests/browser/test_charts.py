"""Charts on a page of their own, without a server: how they show unexpected values."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from metrics_stream.models.panel_kinds import PANEL_KINDS
from tests.support.browser_modules import run
from tests.support.stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Open one page for all tests, without style sheets; a test removes the elements that it adds."""
    opened = browser.new_page(base_url=stack.url, viewport={"width": 1000, "height": 800})
    opened.goto("/healthz")
    yield opened
    opened.close()


CHART = (
    f"""
  const KINDS = {json.dumps(list(PANEL_KINDS))};
"""
    + """
  const {Store} = await import("/static/metrics_stream/client/store.js");
  const {loadCharts} = await import("/static/metrics_stream/charts/kinds.js");
  const field = (path, unit = "") => ({path, label: path, unit});
  const nowMs = Date.UTC(2026, 0, 31, 12);
  const store = new Store([{metricType: "system", path: "value", windowSeconds: 300}]);
  const add = (secondsAgo, value, source = "east") => store.add({
    metric_type: "system", source, timestamp: new Date(nowMs - 1000 * secondsAgo).toISOString(), data: {value},
  }, nowMs, -Infinity);
  const host = document.createElement("div");
  document.body.append(host);
  const moment = {nowMs, windowMs: null, zoom: null};
  for (const kind of KINDS) {
    host.append(Object.assign(document.createElement("link"), {href: `/static/metrics_stream/charts/${kind}.js`}));
    host.lastChild.dataset.chart = kind;
  }
  const charts = await loadCharts(host);
  host.replaceChildren();
  const make = (kind, options = {}, rest = {}) => new (charts.get(kind))({
    title: "Value", kind, metric_type: "system", fields: [field("value")], unit: "", decimals: null,
    warning_at: null, critical_at: null, options, ...rest,
  }, host);
  const end = (chart) => {
    chart.stop();
    host.remove();
  };
"""
)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("value", [1.7976931348623157e308, -1.7976931348623157e308, 9.3e18, 5e-324])
def test_line_of_extreme_values_is_drawn_with_labels_that_leave_it_room(page: Page, value: float, stacked: bool):
    code = f"""{CHART}
      for (let second = 60; second > 0; second -= 1) {{
        add(second, second % 2 ? argument.value : 0);
        add(second, second % 2 ? argument.value : 0, "west");
      }}
      const chart = make("line", {{stacked: argument.stacked}});
      chart.canvas.style.cssText = "width: 600px; height: 200px";
      chart.paint({{store, source: null}});
      chart.draw(moment);
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const over = host.querySelector(".u-over").getBoundingClientRect();
      const texts = [...host.querySelectorAll(".line__value")].map((node) => node.textContent.length);
      end(chart);
      return [over.width > 400, Math.max(...texts) < 20];
    """
    assert run(page, "charts/line", code, {"value": value, "stacked": stacked}) == [True, True]


@pytest.mark.parametrize("locale", ["en-US", "de-DE", "fr-CA", "fi-FI", "ar-EG", "ja-JP"])
def test_time_axis_says_hours_and_minutes_in_every_language(browser: Browser, stack: Stack, locale: str):
    opened = browser.new_page(base_url=stack.url, locale=locale, timezone_id="America/Toronto")
    opened.goto("/healthz")
    code = """
      const plot = {bbox: {width: 1000 * devicePixelRatio}, valToPos: () => 0};
      const noon = Date.UTC(2026, 0, 31, 17) / 1000;
      const parts = (texts) => texts.map((text) => text.match(/\\p{Nd}+/gu).map((digits) => digits.length));
      return [parts(module.timeLabels(plot, [noon, noon + 60])), parts(module.timeLabels(plot, [noon, noon + 15]))];
    """
    found = run(opened, "charts/axis", code)
    opened.close()
    assert found == [[[2, 2], [2, 2]], [[2, 2, 2], [2, 2, 2]]]


def test_legend_of_a_stacked_chart_says_what_each_line_has_under_the_cursor(page: Page):
    code = f"""{CHART}
      // Two sources that never publish at the same instant.
      for (let second = 60; second > 0; second -= 2) {{
        add(second, 10);
        add(second - 1, 20, "west");
      }}
      const chart = make("line", {{stacked: argument}});
      chart.canvas.style.cssText = "width: 600px; height: 200px";
      chart.paint({{store, source: null}});
      chart.draw(moment);
      const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      await frame();
      const over = host.querySelector(".u-over");
      const {{left, top, width}} = over.getBoundingClientRect();
      const seen = new Set();
      for (const share of [0.41, 0.43, 0.45, 0.47, 0.49]) {{
        const place = {{clientX: left + share * width, clientY: top + 20, bubbles: true}};
        over.dispatchEvent(new MouseEvent("mouseenter", place));
        over.dispatchEvent(new MouseEvent("mousemove", place));
        await frame();
        seen.add([...host.querySelectorAll(".line__value")].map((node) => node.textContent).join(" "));
      }}
      end(chart);
      return [...seen];
    """
    for stacked in (False, True):
        assert run(page, "charts/line", code, stacked) == ["10.0 20.0"]


def test_line_that_is_hidden_in_a_stacked_chart_leaves_the_others_on_the_ground(page: Page):
    code = f"""{CHART}
      for (let second = 60; second > 0; second -= 1) {{
        add(second, 10);
        add(second, 20, "west");
      }}
      const chart = make("line", {{stacked: true}});
      chart.canvas.style.cssText = "width: 600px; height: 200px";
      chart.paint({{store, source: null}});
      chart.draw(moment);
      const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const isFilled = () => {{
        const canvas = host.querySelector("canvas");
        const scale = canvas.width / 600;
        // The plot is 166 pixels high, below 8 that are empty.
        const read = (x, y) => canvas.getContext("2d").getImageData(x * scale, y * scale, 1, 1).data[3];
        const at = (share) => read(330, 8 + 166 * share) > 0;
        // Just above the ground, and where 25 of 30 is.
        return [at(0.97), at(0.25)];
      }};
      await frame();
      const seen = [isFilled()];
      const [first] = host.querySelectorAll(".line__item");
      for (let press = 0; press < 2; press += 1) {{
        first.click();
        await frame();
        seen.push(isFilled());
      }}
      end(chart);
      return seen;
    """
    assert run(page, "charts/line", code) == [[True, True], [True, True], [True, True]]


def test_agent_that_fell_silent_is_not_called_healthy_any_more(page: Page):
    code = f"""{CHART}
      const agents = (secondsAgo, ...ids) => store.add({{
        metric_type: "agent", source: "east", timestamp: new Date(nowMs - 1000 * secondsAgo).toISOString(),
        data: ids.map((agent_id) => ({{agent_id, status: "healthy"}})),
      }}, nowMs, -Infinity);
      const panel = {{kind: "status", metric_type: "agent", fields: [], warning_at: null, critical_at: null, unit: ""}};
      const seen = () => module.statesOf(store, panel, null).map(({{name}}) => name);
      agents(60, "ada", "bob");
      const before = seen();
      for (let second = 59; second > 0; second -= 1) agents(second, "ada");
      return [before, seen()];
    """
    assert run(page, "charts/status", code) == [["ada", "bob"], ["ada"]]


def test_large_figure_says_what_is_no_number_as_tables_do(page: Page):
    code = f"""{CHART}
      const chart = make("number");
      const seen = [{{p99_ms: 12, is_up: true}}, ["a", 1], "steady"].map((value, index) => {{
        add(9 - index, value);
        chart.paint({{store, source: null, moment}});
        return host.querySelector(".number__text").textContent;
      }});
      end(chart);
      return seen;
    """
    assert run(page, "charts/number", code) == ["p99 12.0\u00a0ms, Is up yes", "a, 1.00", "steady"]
