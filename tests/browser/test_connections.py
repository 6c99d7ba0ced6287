"""The admin page Connections in a real browser: it follows the clients, and can disconnect one."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.support.stack import Stack

pytestmark = pytest.mark.browser

LIST = "/admin/metrics_stream/connection/"


@pytest.fixture
def admin(page: Page, stack: Stack) -> Page:
    """Sign in to the admin, in a browser whose console must stay empty."""
    code = (
        "from django.contrib.auth.models import User\n"
        "User.objects.filter(username='guard').delete()\n"
        "User.objects.create_superuser('guard', password='only-for-tests')"
    )
    stack.manage("shell", "-v", "0", code=code)
    page.on("console", lambda message: pytest.fail(message.text) if message.type == "error" else None)
    page.goto(LIST)
    page.get_by_label("Username").fill("guard")
    page.get_by_label("Password").fill("only-for-tests")
    page.get_by_role("button", name="Log in").click()
    return page


@pytest.fixture
def client(stack: Stack) -> Iterator[ClientConnection]:
    """Connect a program that is subscribed to system."""
    with connect(stack.socket_url) as socket:
        socket.send('{"type": "subscribe", "metric_types": ["system"]}')
        yield socket


def test_rows_come_and_go_by_themselves_and_the_page_stays_where_it_was(admin: Page, stack: Stack) -> None:
    search = admin.locator("#connections-q")
    search.fill("half a wo")
    admin.mouse.wheel(0, 40)
    rows = admin.locator(".connections__table tbody tr").filter(has_text="hero")
    expect(rows).to_have_count(0)
    with connect(stack.socket_url) as socket:
        socket.send('{"type": "subscribe", "metric_types": ["hero"]}')
        expect(rows).to_have_count(1, timeout=15_000)
        expect(rows.locator(".state")).to_have_text("live")
    expect(rows).to_have_count(0, timeout=15_000)
    expect(search).to_have_value("half a wo")
    expect(search).to_be_focused()
    problem = admin.get_by_text("This list may be old")
    expect(problem).to_be_hidden()
    admin.context.clear_cookies()
    expect(problem).to_be_visible(timeout=15_000)


def test_a_client_is_asked_about_and_sent_away(admin: Page, stack: Stack, client: ClientConnection) -> None:
    stack.publish("stream.broadcast_system_metrics({'throughput_tps': 5})")
    admin.goto(f"{LIST}?q=system+live")
    admin.locator(".connections__table tbody th a").first.click()
    admin.get_by_role("link", name="system of producer").click()
    expect(admin.get_by_role("status")).to_contain_text("It gets this metric.")
    admin.get_by_label("Metric type").select_option("hero")
    admin.get_by_role("button", name="Ask").click()
    expect(admin.get_by_role("status")).to_contain_text("because of: Published lately, Subscription")
    admin.get_by_role("link", name="Disconnect").click()
    admin.get_by_label("Reason").fill("the show is over")
    admin.get_by_role("button", name="Disconnect").click()
    expect(admin.locator(".messagelist")).to_contain_text("Disconnected anybody")
    expect(admin.get_by_text("Disconnected: the show is over").first).to_be_visible()
    expect(admin.locator(".connections__table tbody tr").filter(has_text="system")).to_have_count(0)
    with pytest.raises(ConnectionClosedError, match="4503"):
        read_to_the_end(client)


def read_to_the_end(client: ClientConnection) -> None:
    while True:
        client.recv(timeout=10)


def test_on_a_phone_nothing_is_wider_than_the_window(admin: Page, client: ClientConnection) -> None:
    admin.set_viewport_size({"width": 390, "height": 844})
    admin.goto(LIST)
    admin.locator(".connections__act a").first.wait_for()
    disconnect = admin.locator(".connections__act a").first.get_attribute("href") or ""
    details = f"{disconnect.removesuffix('disconnect/')}?metric_type=system&source={'x' * 80}"
    for address in (LIST, disconnect, details):
        admin.goto(address)
        assert admin.evaluate("document.documentElement.scrollWidth") <= 390, address
