"""Dashboards in a real browser, over a real stack: values arrive, connections come back, texts name the problem."""

import json
import re
import signal
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from metrics_stream.core.metrics.catalogue import SYSTEM
from tests.support.dashboard_pages import panel
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

AGENT = {"agent_id": "a-1", "agent_name": "Ada", "status": "degraded", "health_score": 0.5, "success_rate": 0.9}

# What a server answers that keeps nothing.
NO_BACKFILL = {
    "type": "backfill",
    "metric_types": ["system"],
    "from": "2026-01-01T00:00:00.000000Z",
    "until": "2026-01-01T00:00:00.000000Z",
    "bucket_seconds": 1,
    "series": [],
    "done": True,
}


def show(page: Page, state: str) -> None:
    """Tell the page that it is `visible` or `hidden`, as browsers do; Playwright keeps every page visible."""
    page.evaluate(
        """(state) => {
          Object.defineProperty(document, "visibilityState", {configurable: true, value: state});
          Object.defineProperty(document, "hidden", {configurable: true, value: state === "hidden"});
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


class QuietServer:
    """A server that sends one metric and then only answers pings; remembers what it was asked."""

    def __init__(self, page: Page) -> None:
        self.asked: list[dict[str, Any]] = []
        page.clock.install()
        page.route_web_socket(re.compile("/ws/metrics/"), self._serve)

    def _serve(self, socket: WebSocketRoute) -> None:
        socket.on_message(lambda text: self._answer(socket, json.loads(text)))
        now = "2026-01-01T00:00:00.000000Z"
        delivery = {"interval_seconds": 1.0, "batch_size": 10, "batch_timeout_seconds": 0.5, "mode": "all"}
        socket.send(json.dumps({"type": "welcome", "timestamp": now, "subscription": delivery}))
        self._socket = socket
        self.publish(throughput_tps=50, timestamp=now)

    def publish(self, *, timestamp: str, **data: float) -> None:
        """Send one more metric."""
        metric = {"metric_type": "system", "timestamp": timestamp, "source": "east", "data": data}
        self._socket.send(json.dumps({"type": "metric_update", "data": metric}))

    def _answer(self, socket: WebSocketRoute, message: dict[str, Any]) -> None:
        if message["type"] == "ping":
            # Without a time: that of the page is fast-forwarded, and the two would not agree.
            socket.send('{"type": "pong", "timestamp": ""}')
        else:
            self.asked.append(message)
        if "backfill_seconds" in message:
            socket.send(json.dumps(NO_BACKFILL))

    @property
    def intervals(self) -> list[float]:
        return [message["interval_seconds"] for message in self.asked if message["type"] == "set_update_interval"]


def test_published_value_appears(page: Page, stack: Stack) -> None:
    page.goto("/dashboards/presentation/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_text("Waiting for hero metrics…").first).to_be_visible()
    stack.publish("stream.broadcast_hero_metrics({'total_transactions': 123456, 'ai_accuracy': 0.972})")
    expect(panel(page, "Transactions", "number").locator(".number__figure")).to_have_text("123,456")
    expect(panel(page, "AI accuracy", "number").locator(".number__figure")).to_have_text("97.2%")
    expect(page.get_by_text(re.compile(r"Newest sample .* ago"))).to_be_visible()
    expect(page.get_by_label("Source").locator("option")).to_have_text(["All sources", "producer"])


def test_values_flow_again_after_the_server_was_killed(page: Page, stack: Stack) -> None:
    page.goto("/dashboards/operations/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    stack.publish("stream.broadcast_system_metrics({'throughput_tps': 111})")
    figure = panel(page, "Throughput", "number").locator(".number__figure")
    expect(figure).to_have_text("111tps")
    stack.stop(signal.SIGKILL)
    try:
        expect(page.get_by_text(re.compile(r"Reconnecting"))).to_be_visible()
        expect(page.get_by_text("the server cannot be reached", exact=True)).to_be_visible()
    finally:
        stack.start()
    expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=30_000)
    stack.publish("stream.broadcast_system_metrics({'throughput_tps': 222})")
    expect(figure).to_have_text("222tps")


def test_a_panel_out_of_sight_is_kept_up_to_date(page: Page, stack: Stack) -> None:
    page.set_viewport_size({"width": 1440, "height": 300})
    page.goto("/dashboards/operations/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    requests = panel(page, "Requests", "table")
    for count in (1111, 2222):
        stack.publish(f"stream.broadcast_system_metrics({{'requests_total': {count}}})")
        expect(requests).to_contain_text(f"{count:,}")
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize("slug", ["operations", "agents", "presentation"])
def test_phone_width_has_no_horizontal_overflow(page: Page, stack: Stack, slug: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/dashboards/{slug}/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    stack.publish(
        "stream.broadcast_system_metrics({'throughput_tps': 1234.5, 'p99_response_time_ms': 1700})\n"
        f"stream.broadcast_agent_metrics([{AGENT!r}])\n"
        "stream.broadcast_hero_metrics({'total_transactions': 987654321, 'money_saved': 123456789.5})"
    )
    expect(page.locator(".panel[data-filled]").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for box in (each.bounding_box() for each in page.locator(".panel").all()):
        assert box is not None
        assert box["width"] >= 160
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_text_of_metrics_reaches_the_page_as_text(page: Page, stack: Stack) -> None:
    name = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    page.goto("/dashboards/agents/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    stack.publish(f"stream.broadcast_agent_metrics([{ {**AGENT, 'agent_name': name}!r}])")
    expect(panel(page, "Health of the agents", "status").get_by_text(name)).to_be_visible()
    expect(panel(page, "All agents", "table").get_by_text(name)).to_be_visible()
    expect(panel(page, "Success rate", "bar").get_by_text(name)).to_be_visible()
    expect(page).to_have_title(re.compile("Agents"))
    assert page.locator("main img, main script").count() == 0


def test_panel_without_new_values_says_so(page: Page) -> None:
    served = []

    def serve(socket) -> None:
        served.append(socket)
        if len(served) > 1:
            return  # the page reconnects as its ping has no answer; the clock must not restart
        data = '{"throughput_tps": 50, "error_rate": 0.2}'
        now = "2026-01-01T00:00:00.000000Z"
        socket.send(f'{{"type": "welcome", "timestamp": "{now}", "metric_types": ["system"]}}')
        metric = f'{{"metric_type": "system", "timestamp": "{now}", "source": "east", "data": {data}}}'
        socket.send(f'{{"type": "metric_update", "data": {metric}}}')

    page.clock.install()
    page.route_web_socket(re.compile("/ws/metrics/"), serve)
    page.goto("/dashboards/operations/")
    throughput = panel(page, "Throughput", "number")
    expect(throughput.locator(".number__figure")).to_have_text("50.0tps")
    expect(panel(page, "Error rate", "number").get_by_text("Critical")).to_be_visible()
    expect(throughput.get_by_text(re.compile("no data for"))).to_be_hidden()
    page.clock.fast_forward(14_000)
    expect(throughput.get_by_text(re.compile(r"no data for 1\d\ss"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"Newest sample 1\d\ss ago"))).to_be_visible()


def test_hidden_page_gets_what_gathered_when_it_is_seen_again(page: Page, stack: Stack) -> None:
    page.clock.install()
    received: list[dict[str, Any]] = []
    with page.expect_websocket() as opened:
        page.goto("/dashboards/operations/")
    socket = opened.value
    socket.on("framereceived", lambda payload: received.append(json.loads(payload)))
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    figure = panel(page, "Throughput", "number").locator(".number__figure")
    stack.publish("stream.broadcast_system_metrics({'throughput_tps': 111})")
    expect(figure).to_have_text("111tps")
    show(page, "hidden")
    with socket.expect_event("framereceived", lambda payload: "update_interval_set" in payload):
        page.clock.fast_forward(6_000)
    before = len(received)
    stack.publish("for number in (221, 222): stream.broadcast_system_metrics({'throughput_tps': number})")
    show(page, "visible")
    expect(figure).to_have_text("222tps")
    assert received[before - 1] == {"type": "update_interval_set", "interval_seconds": 10.0}
    replies = [message for message in received[before:] if message["type"] == "update_interval_set"]
    assert replies == [{"type": "update_interval_set", "interval_seconds": 1.0}]
    # On a machine that is busy for ten seconds, the first of them comes before the page is seen again.
    batches = [message["data"] for message in received[before:] if message["type"].startswith("metric_")]
    metrics = [metric for data in batches for metric in (data if isinstance(data, list) else [data])]
    assert [metric["data"] for metric in metrics] == [{"throughput_tps": 221}, {"throughput_tps": 222}]


def test_glance_at_another_tab_changes_nothing(page: Page) -> None:
    server = QuietServer(page)
    page.goto("/dashboards/operations/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    for _ in range(5):
        show(page, "hidden")
        page.clock.fast_forward(4_000)
        show(page, "visible")
        page.clock.fast_forward(1_000)
    assert server.intervals == []
    show(page, "hidden")
    page.clock.fast_forward(6_000)
    show(page, "visible")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    assert server.intervals == [10, 1]


def test_page_that_is_seen_again_calls_nothing_stale_before_it_can_know(page: Page) -> None:
    QuietServer(page)
    page.goto("/dashboards/operations/")
    throughput = panel(page, "Throughput", "number")
    expect(throughput.locator(".number__figure")).to_have_text("50.0tps")
    stale = throughput.get_by_text(re.compile("no data for"))
    show(page, "hidden")
    page.clock.fast_forward(6_000)
    page.clock.fast_forward(8_000)
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 0.1"))
    show(page, "visible")
    expect(page.get_by_text(re.compile(r"Newest sample 1[45][\d.]*\ss ago"))).to_be_visible()
    expect(stale).to_be_hidden()
    page.clock.run_for(3_000)
    expect(stale).to_be_visible()
    show(page, "hidden")
    page.clock.run_for(9_000)
    show(page, "visible")
    expect(stale).to_be_visible()


def test_page_that_is_seen_again_does_not_call_stale_what_came_meanwhile(page: Page) -> None:
    server = QuietServer(page)
    page.goto("/dashboards/operations/")
    throughput = panel(page, "Throughput", "number")
    expect(throughput.locator(".number__figure")).to_have_text("50.0tps")
    show(page, "hidden")
    page.clock.fast_forward(6_000)
    page.clock.fast_forward(120_000)
    server.publish(throughput_tps=60, timestamp="2026-01-01T00:02:05.000000Z")
    page.evaluate("1")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 0.1"))
    show(page, "visible")
    expect(throughput.get_by_text(re.compile("no data for"))).to_be_hidden()
    page.clock.run_for(300)
    expect(throughput.locator(".number__figure")).to_have_text("60.0tps")
    expect(throughput.get_by_text(re.compile("no data for"))).to_be_hidden()


def test_every_line_panel_is_drawn(page: Page, stack: Stack) -> None:
    page.goto("/dashboards/operations/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    fields = [field.name for field in SYSTEM.fields]
    stack.publish(
        "import time\n"
        f"for age in (60, 30, 0): stream.broadcast_system_metrics(dict.fromkeys({fields}, 0.5), time.time() - age)"
    )
    canvases = page.locator('.panel[data-kind="line"][data-filled] canvas')
    count = page.locator('.panel[data-kind="line"]').count()
    assert count >= 4
    expect(canvases).to_have_count(count)
    for canvas in canvases.all():
        # Axes and grid are grey, lines are not.
        colourful = """(canvas) => {
          const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let count = 0;
          for (let at = 0; at < data.length; at += 4) {
            const [least, most] = [Math.min(...data.slice(at, at + 3)), Math.max(...data.slice(at, at + 3))];
            if (data[at + 3] > 200 && most - least > 60) count += 1;
          }
          return count;
        }"""
        page.wait_for_function(f"async (canvas) => ({colourful})(canvas) > 100", arg=canvas.element_handle())


def test_empty_panel_says_how_to_fill_it(page: Page, stack: Stack) -> None:
    page.clock.install()
    page.goto("/dashboards/business/")
    waiting = panel(page, "Money saved", "number")
    expect(waiting.get_by_text("Waiting for business metrics…")).to_be_visible()
    page.clock.fast_forward(9_000)
    waiting.get_by_role("link", name="How to publish").click()
    expect(page.get_by_role("heading", name="Get metrics onto the page")).to_be_visible()


def test_source_picker_shows_one_source(page: Page, stack: Stack) -> None:
    page.goto("/dashboards/operations/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    stack.publish(
        "stream.broadcast_system_metrics({'throughput_tps': 10}, source='east')\n"
        "stream.broadcast_system_metrics({'throughput_tps': 20}, source='west')"
    )
    throughput = panel(page, "Throughput", "number")
    expect(throughput.locator(".number__label")).to_have_text(["east", "west"])
    page.get_by_label("Source").select_option("west")
    expect(throughput.locator(".number__figure")).to_have_text(["20.0tps"])
    expect(page).to_have_url(re.compile(r"\?source=west$"))


def test_refused_connection_stays_away_until_asked(page: Page) -> None:
    def refuse(socket) -> None:
        socket.send('{"type": "error", "code": "forbidden", "message": "you may not see this"}')
        socket.close(code=4503, reason="forbidden")

    page.route_web_socket(re.compile("/ws/metrics/"), refuse)
    page.goto("/dashboards/operations/")
    expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
    expect(page.locator("[data-connection-reason]")).to_have_text("you may not see this")
    expect(page.get_by_role("button", name="Reconnect")).to_be_visible()


def test_gap_is_announced(page: Page) -> None:
    def serve(socket) -> None:
        socket.send('{"type": "welcome", "timestamp": "2026-01-01T00:00:00.000000Z", "metric_types": ["system"]}')
        socket.send('{"type": "gap", "reason": "too slow", "dropped": 12, "metric_types": ["system"]}')

    page.route_web_socket(re.compile("/ws/metrics/"), serve)
    page.goto("/dashboards/operations/")
    expect(page.get_by_text("12 samples skipped: too slow")).to_be_visible()


def test_what_a_connection_complained_of_is_gone_with_it(page: Page) -> None:
    welcome = '{"type": "welcome", "timestamp": "2026-01-01T00:00:00.000000Z", "metric_types": ["system"]}'
    bus = page.get_by_text("The server receives nothing from the producers")
    error = page.get_by_text("The server says: the server stops")
    sockets = []

    def serve(socket) -> None:
        sockets.append(socket)
        socket.send(welcome)
        if len(sockets) == 1:
            socket.send('{"type": "status", "bus": "stale"}')
            socket.send('{"type": "error", "code": "going_away", "message": "the server stops"}')

    page.route_web_socket(re.compile("/ws/metrics/"), serve)
    page.goto("/dashboards/operations/")
    expect(bus).to_be_visible()
    expect(error).to_be_visible()
    sockets[0].close(code=4001, reason="")
    expect(bus).to_be_hidden()
    expect(error).to_be_hidden()
    assert len(sockets) == 2


def test_theme_is_remembered(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/")
    button = page.get_by_role("button", name=re.compile("Theme"))
    button.click()
    button.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto("/dashboards/agents/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_home_page_offers_the_dashboards(page: Page) -> None:
    page.goto("/")
    cards = page.locator(".dashboard-card__title")
    others = ["Operations", "This machine", "Agents", "Business", "Presentation", "Stream health"]
    expect(cards).to_have_text(["Load test", *others])
    cards.first.click()
    expect(page).to_have_url(re.compile("/dashboards/load-test/"))
