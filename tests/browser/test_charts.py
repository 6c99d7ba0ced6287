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
      const {{presentOf}} = await import("/static/metrics_stream/client/readings.js");
      const seen = () => module.statesOf(store, panel, null, presentOf(store, panel, null)).map(({{name}}) => name);
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
    assert run(page, "charts/number", code) == ["p99 ms 12.0, Is up yes", "a, 1.00", "steady"]


HISTOGRAM = f"""{CHART}
  host.style.cssText = "width: 600px; height: 300px; display: flex; flex-direction: column";
  const path = "sketches.response_time_ms";
  const sketches = new Store([{{metricType: "system", path, windowSeconds: 300}}]);
  const addSketch = (secondsAgo, bins, rest = {{}}, source = "east") => sketches.add({{
    metric_type: "system", source, timestamp: new Date(nowMs - 1000 * secondsAgo).toISOString(),
    data: {{sketches: {{response_time_ms: {{accuracy: 0.01, bins, ...rest}}}}}},
  }}, nowMs, -Infinity);
  const spread = {{path, label: "Response time", unit: "ms"}};
  const chart = make("histogram", {{}}, {{fields: [spread], warning_at: 50, critical_at: 90}});
  const plain = (text) => text.replace(/\\u00a0/g, " ");
  const textOf = (node) => node.children.length ? [...node.children].map(textOf).join(" ") : plain(node.textContent);
  const texts = (selector) => [...host.querySelectorAll(selector)].map(textOf);
  const read = () => ({{
    filled: chart.paint({{store: sketches, source: null, moment}}),
    figures: texts(".histogram__figure"),
    name: plain(host.querySelector("[role=img]").getAttribute("aria-label")),
    heights: [...host.querySelectorAll(".histogram__bars > :not([data-empty])")].map((node) => node.style.height),
    levels: [...host.querySelectorAll(".histogram__bars > :not([data-empty])")].map((node) => node.dataset.level),
    rows: texts("tbody tr"),
    level: chart.level,
  }});
"""


def test_histogram_counts_the_values_of_the_window_with_their_percentiles(page: Page):
    code = f"""{HISTOGRAM}
      const empty = chart.paint({{store: sketches, source: null, moment}});
      addSketch(400, {{116: 1_000}});
      addSketch(20, {{116: 90, 231: 5}}, {{max: 100}});
      addSketch(10, {{116: 5}}, {{zeros: 2, max: 10}}, "west");
      const found = read();
      end(chart);
      return {{empty, ...found}};
    """
    assert run(page, "charts/dom", code) == {
        "empty": False,
        "filled": True,
        "figures": ["p50 10.1 ms", "p95 10.1 ms", "p99 100 ms"],
        "name": "Histogram of Response time: 102 values in 20 s, 2 of them zero; p50 10.1 ms, p95 10.1 ms, p99 100 ms",
        "heights": ["95%", "5%"],
        "levels": ["good", "bad"],
        "rows": ["9.8 ms 10.2 ms 95", "99.5 ms 104 ms 5"],
        "level": "bad",
    }


def test_histogram_says_that_its_window_has_become_empty(page: Page):
    code = f"""{HISTOGRAM}
      addSketch(10, {{116: 5}});
      read();
      const later = {{...moment, nowMs: nowMs + 400_000}};
      const drew = [chart.draw(moment), chart.draw(later), chart.draw(later)];
      const found = {{drew, caption: texts(".histogram__caption"), figures: texts(".histogram__figure"),
                     bars: texts(".histogram__bars > *").length, rows: texts("tbody tr").length}};
      end(chart);
      return found;
    """
    assert run(page, "charts/dom", code) == {
        "drew": [False, True, False],
        "caption": ["No values in 5 min"],
        "figures": ["p50 –", "p95 –", "p99 –"],
        "bars": 0,
        "rows": 0,
    }


@pytest.mark.parametrize("bins", [{"0": 1}, {"-900": 3, "900": 4}, {str(number): 1 for number in range(-1000, 1000)}])
def test_histogram_has_no_more_bars_than_fit_and_keeps_every_value(page: Page, bins: dict[str, int]):
    code = """
      const {Sketch} = await import("/static/metrics_stream/client/sketch.js");
      const sketch = new Sketch();
      for (const [bin, count] of Object.entries(argument)) sketch.bins.set(Number(bin), count);
      const bars = module.barsOf(sketch, 40);
      return {
        number: bars.length,
        count: bars.reduce((sum, bar) => sum + bar.count, 0),
        areJoined: bars.every((bar, index) => index === 0 || Math.abs(bar.low / bars[index - 1].high - 1) < 1e-9),
      };
    """
    found = run(page, "charts/histogram", code, bins)
    assert 12 <= found["number"] <= 40
    assert found["count"] == sum(bins.values())
    assert found["areJoined"]


@pytest.mark.parametrize(
    ("places", "tags"),
    [
        ((0.2, 0.5, 0.7), ["p50", "p95", "p99"]),
        ((0.2, 0.5, 0.55), ["p50", "p95–p99"]),
        ((0.2, 0.21, 0.22), ["p50–p99"]),
        # The last tag ends at its line, so it would reach into the one before it.
        ((0.4, 0.8, 0.93), ["p50", "p95–p99"]),
        ((0.6, 0.8, 0.95), ["p50–p99"]),
    ],
)
def test_tags_of_a_histogram_never_overlap(page: Page, places: tuple[float, ...], tags: list[str]):
    code = """
      const marks = argument.map((at, index) => ({name: ["p50", "p95", "p99"][index], at}));
      return module.tagsOf(marks, 280).map((tag) => tag.text);
    """
    assert run(page, "charts/histogram", code, list(places)) == tags


def test_heat_map_says_how_many_values_are_under_the_cursor(page: Page):
    code = f"""{HISTOGRAM}
      chart.stop();
      host.replaceChildren();
      for (const step of [1, 2, 3, 4, 5]) host.style.setProperty(`--ramp-${{step}}`, `rgb(${{40 * step}}, 0, 0)`);
      const map = make("heatmap", {{}}, {{fields: [spread]}});
      map.host.node.style.cssText = "position: relative; width: 600px; height: 200px";
      const empty = map.paint({{store: sketches, source: null, moment}});
      for (let second = 60; second > 0; second -= 1) addSketch(second, {{116: 9, 231: 1}});
      const filled = map.paint({{store: sketches, source: null, moment}});
      const drew = [map.draw(moment), map.draw(moment)];
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const canvas = host.querySelector("canvas");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const colours = new Set();
      for (let at = 0; at < pixels.length; at += 4)
        if (pixels[at + 3] === 255) colours.add(pixels.slice(at, at + 3).join());
      const found = [empty, filled, drew, colours.size >= 2, plain(map.host.node.getAttribute("aria-label")),
                     texts(".plot-scale__words")];
      end(map);
      return found;
    """
    *states, name, words = run(page, "charts/dom", code)
    assert states == [False, True, [True, False], True]
    assert name.startswith("Heat map of Response time: 600 values from ")
    assert words == ["values in 1.0 s · 600 in all"]


def test_scatter_plot_has_a_point_for_each_instant_and_forgets_old_ones(page: Page):
    code = f"""{CHART}
      const both = new Store([{{metricType: "system", path: "tps", windowSeconds: 300}},
                              {{metricType: "system", path: "p95", windowSeconds: 300}}]);
      for (let second = 400; second > 0; second -= 4) {{
        const timestamp = new Date(nowMs - 1000 * second).toISOString();
        const data = {{tps: second, p95: 2 * second}};
        both.add({{metric_type: "system", source: "east", timestamp, data}}, nowMs, -Infinity);
      }}
      const chart = make("scatter", {{}}, {{fields: [field("tps", "tps"), field("p95", "ms")]}});
      chart.host.node.style.cssText = "position: relative; width: 600px; height: 200px";
      const filled = chart.paint({{store: both, source: null, moment}});
      const drew = [chart.draw(moment), chart.draw(moment)];
      const name = () => chart.host.node.getAttribute("aria-label").replace(/\\u00a0/g, " ");
      const names = [name()];
      chart.draw({{...moment, nowMs: nowMs + 200_000}});
      names.push(name());
      chart.draw({{...moment, nowMs: nowMs + 2_000_000}});
      names.push(name());
      end(chart);
      return [filled, drew, names];
    """
    filled, drew, names = run(page, "charts/dom", code)
    assert (filled, drew) == (True, [True, False])
    assert names == [
        "p95 against tps: 75 points; now 4.00 tps, 8.0 ms",
        "p95 against tps: 25 points; now 4.00 tps, 8.0 ms",
        "p95 against tps: 0 points",
    ]
