"""The time that dashboards show, in a real browser, over a real stack: the past, pausing, windows and zoom."""

import json
import re
import time

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.support.dashboard_pages import badge, figure, open_operations, panel, publish
from tests.support.stack import Stack, wait_until

pytestmark = pytest.mark.browser

# Four minutes of a wave; nothing is published afterwards.
PAST = """
import math, time
now = time.time()
for second in range(240):
    value = 500 + 300 * math.sin(second / 10)
    stream.broadcast_system_metrics({'throughput_tps': value, 'error_rate': 0.01}, timestamp=now - 240 + second)
"""


# Count the coloured pixels in a stretch of a canvas (0 to 1); axes and grid are grey.
COLOURFUL = """(canvas, [from, to]) => {
  const [left, right] = [from, to].map((share) => Math.round(share * canvas.width));
  const {data} = canvas.getContext("2d").getImageData(left, 0, right - left, canvas.height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    const [least, most] = [Math.min(...data.slice(at, at + 3)), Math.max(...data.slice(at, at + 3))];
    if (data[at + 3] > 200 && most - least > 60) count += 1;
  }
  return count;
}"""


def test_chart_shows_the_past_at_its_first_painting(page: Page, stack: Stack) -> None:
    stack.publish(PAST)
    open_operations(page)
    canvas = panel(page, "Throughput", "line").locator("canvas")
    expect(canvas).to_be_visible()
    assert canvas.evaluate(COLOURFUL, [0.15, 0.3]) > 50
    expect(figure(page)).to_have_text(re.compile("tps"))


# Count how often each chart was drawn before the first frame on the screen.
COUNT_DRAWN = """
const counts = new Map();
const {clearRect} = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.clearRect = function (...given) {
  if (!counts.size) requestAnimationFrame(() => { globalThis.drawn = [...counts.values()]; });
  if (this.canvas.closest(".line__plot")) counts.set(this.canvas, (counts.get(this.canvas) ?? 0) + 1);
  return clearRect.apply(this, given);
};
"""


# Return the charts' columns by series and second: the last value, the lowest and the highest.
COLUMNS = """() => {
  const found = {};
  for (const path of ["throughput_tps", "error_rate", "p99_response_time_ms"]) {
    for (const series of dashboardPage.feed.store.series("system", path)) {
      const seconds = found[`${series.source} ${path}`] = {};
      series.times.forEach((timeMs, index) => {
        const second = Math.floor(timeMs / 1000);
        const [, low, high] = seconds[second] ?? [null, Infinity, -Infinity];
        const {values, lows, highs} = series;
        seconds[second] = [values[index], Math.min(low, lows[index]), Math.max(high, highs[index])];
      });
    }
  }
  return found;
}"""


def expose(page: Page) -> None:
    """Make the dashboard's objects accessible to a test."""

    def handle(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=f"{response.text()}\nglobalThis.dashboardPage = dashboardPage;")

    page.route("**/pages/dashboard.js", handle)


def test_reloaded_chart_has_the_columns_of_one_that_stayed_open(page: Page, stack: Stack) -> None:
    reloaded = page.context.new_page()
    for each in (page, reloaded):
        expose(each)
        open_operations(each)
        expect(badge(each)).to_have_text("Live")
    for source in ("east", "west"):
        stack.publish(
            "import random, time\n"
            "now = time.time()\n"
            "for number in range(1200):\n"
            "    value = random.gauss(500, 50) + (4000 if number % 300 == 7 else 0)\n"
            "    data = {'throughput_tps': value, 'error_rate': value / 1e6, 'p99_response_time_ms': value / 7}\n"
            "    stream.broadcast_system_metrics(data, timestamp=now - 240 + number / 5)",
            source=source,
        )
    page.wait_for_function("() => dashboardPage.feed.store.version('system') >= 2400")
    reloaded.reload()
    reloaded.wait_for_function("() => globalThis.dashboardPage?.feed.store.series('system', 'error_rate').length === 2")
    expected, found = page.evaluate(COLUMNS), reloaded.evaluate(COLUMNS)
    assert len(expected) == 6
    for name, seconds in expected.items():
        # A page keeps one point of the window's first second, from which the line enters.
        assert len(seconds) >= 240
        assert found[name] == seconds
        assert sum(high > 3000 for _, _, high in seconds.values()) == (4 if "throughput" in name else 0)
    reloaded.close()


def test_metrics_that_a_slow_page_missed_are_a_break_until_the_history_has_filled_it(page: Page, stack: Stack) -> None:
    lines = []

    def between(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        lines.append((socket, server))

    expose(page)
    page.route_web_socket(re.compile("/ws/metrics/"), between)
    open_operations(page)
    expect(badge(page)).to_have_text("Live")
    [(socket, server)] = lines
    values = (
        "import time\n"
        "for second in range({}):\n"
        "    stream.broadcast_system_metrics({{'throughput_tps': second}}, timestamp={} + second)"
    )
    began = time.time() // 1 - 30.5
    version = "dashboardPage.feed.store.version('system')"
    stack.publish(values.format("0, 10", began))
    page.wait_for_function(f"() => {version} >= 10")

    def held(what: str, count: int) -> list[str]:
        """Publish values, and return their frames, which do not reach the page."""
        frames = []
        server.on_message(lambda text: frames.append(text) if '"metric_' in text else socket.send(text))
        stack.publish(values.format(what, began))
        # Playwright handles messages only while it waits.
        wait_until(lambda: page.evaluate("1") and "".join(frames).count("throughput_tps") >= count, 10)
        return frames

    held("10, 12", 2)
    later = held("12, 20", 8)
    server.on_message(socket.send)
    # Two seconds after the gap the page requests the missing metrics.
    socket.send('{"type": "gap", "reason": "slow_consumer", "dropped": 2, "metric_types": ["system"]}')
    for text in later:
        socket.send(text)
    page.wait_for_function(f"() => {version} >= 18")
    column = """() => {
      const [{values}] = dashboardPage.feed.store.series("system", "throughput_tps");
      return [...values].map((value) => Number.isNaN(value) ? null : value);
    }"""
    assert page.evaluate(column) == [*range(10), None, *range(12, 20)]
    expect(page.get_by_text("2 samples skipped")).to_be_visible()
    page.wait_for_function(f"() => ({column})().length === 20 && !({column})().includes(null)")
    assert page.evaluate(column) == [*range(20)]


def test_first_picture_is_drawn_once(page: Page, stack: Stack) -> None:
    stack.publish(PAST)
    page.add_init_script(COUNT_DRAWN)
    open_operations(page)
    page.wait_for_function("() => globalThis.drawn?.length")
    counts = page.evaluate("drawn")
    assert len(counts) >= 2
    assert set(counts) == {1}


def test_paused_page_stays_as_it_is_and_counts_new_metrics(page: Page, stack: Stack) -> None:
    open_operations(page)
    expect(badge(page)).to_have_text("Live")
    publish(stack, 111)
    expect(figure(page)).to_have_text("111tps")
    page.get_by_role("button", name="Pause").click()
    publish(stack, 222, 333)
    expect(badge(page)).to_have_text("Paused, 2 updates behind")
    expect(page.locator("[data-age]")).to_have_text(re.compile(r"As of \d\d:"))
    expect(page).to_have_url(re.compile(r"at=.*paused=1"))
    expect(figure(page)).to_have_text("111tps")
    page.get_by_role("button", name="Resume").click()
    expect(figure(page)).to_have_text("333tps")
    expect(badge(page)).to_have_text("Live")
    expect(page).to_have_url(re.compile("/operations/$"))


def test_drag_over_a_chart_shows_that_stretch_on_all_of_them(page: Page, stack: Stack) -> None:
    stack.publish(PAST)
    open_operations(page)
    canvases = [panel(page, title, "line").locator("canvas") for title in ("Throughput", "Errors and timeouts")]
    for canvas in canvases:
        expect(canvas).to_be_visible()
        assert canvas.evaluate(COLOURFUL, [0.9, 0.99]) > 5
    box = panel(page, "Throughput", "line").locator(".u-over").bounding_box()
    assert box is not None
    # From before the first point, so that the left part of all charts is empty afterwards.
    page.mouse.move(box["x"] + box["width"] * 0.01, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.02 + 20, box["y"] + 50, steps=3)
    expect(page.locator(".plot__chosen:visible")).to_have_count(1)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=\d{4}-.*&to=\d{4}-"))
    reset = page.get_by_role("button", name="Reset zoom")
    expect(reset).to_be_visible()
    # Numbers stay at the present, and say so.
    expect(badge(page)).to_have_text("Zoomed in")
    expect(panel(page, "Throughput", "number").locator("[data-panel-now]")).to_have_text("now")
    expect(panel(page, "Throughput", "line").locator("[data-panel-now]")).to_be_hidden()
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("button", name="Reset zoom")).to_be_visible()
    page.mouse.dblclick(box["x"] + 60, box["y"] + 50)
    expect(reset).to_be_hidden()
    expect(badge(page)).to_have_text("Live")
    expect(panel(page, "Throughput", "number").locator("[data-panel-now]")).to_be_hidden()
    expect(page).to_have_url(re.compile("/operations/$"))


def test_longer_window_asks_for_more_of_the_past(page: Page, stack: Stack) -> None:
    sent: list[dict[str, object]] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda text: sent.append(json.loads(text))))
    stack.publish(PAST)
    open_operations(page)
    expect(figure(page)).to_be_visible()
    page.get_by_label("Charts show").select_option("900")
    expect(page).to_have_url(re.compile("window=900"))
    asked = [message["backfill_seconds"] for message in sent if "backfill_seconds" in message]
    assert asked == [301, 900]
    page.get_by_label("Charts show").select_option("300")
    expect(page).to_have_url(re.compile("window=300"))
    assert len([message for message in sent if "backfill_seconds" in message]) == 2


def test_window_that_is_longer_than_the_history_says_where_the_data_begins(page: Page, stack: Stack) -> None:
    lack = page.locator("[data-time-lack]")
    stack.publish(PAST)
    open_operations(page, "?window=900")
    expect(figure(page)).to_be_visible()
    expect(lack).to_be_hidden()
    page.get_by_label("Charts show").select_option("3600")
    words = r"This page has no data before \d\d:\d\d:\d\d: the server keeps live metrics for 15\smin\."
    expect(lack).to_have_text(re.compile(words))
    expect(lack.get_by_role("button")).to_be_hidden()
    page.get_by_label("Charts show").select_option("300")
    expect(lack).to_be_hidden()
