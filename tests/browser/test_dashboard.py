"""Dashboards in a real browser, over a real stack: values arrive, connections come back, words say what is wrong."""

import re
import signal

import pytest
from playwright.sync_api import Page, expect

from tests.stack import Stack

pytestmark = pytest.mark.browser

AGENT = {"agent_id": "a-1", "agent_name": "Ada", "status": "degraded", "health_score": 0.5, "success_rate": 0.9}


def panel(page: Page, title: str, kind: str):
    heading = page.get_by_role("heading", name=title, exact=True)
    return page.locator(f'.panel[data-kind="{kind}"]').filter(has=heading)


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
            return  # the page comes back because nobody answers its ping; the clock must not start anew
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
    expect(cards).to_have_text(["Operations", "This machine", "Agents", "Business", "Presentation"])
    cards.first.click()
    expect(page).to_have_url(re.compile("/dashboards/operations/"))
