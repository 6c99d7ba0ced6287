"""Every page in a real browser, under the Content-Security-Policy: nothing is refused, and what must work works.

What is refused fails the test that opened the page, see `page` in conftest.py.
"""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_in
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

DASHBOARDS = ("load-test", "operations", "agents", "business", "presentation", "this-machine", "stream-health")

PUBLISH = """
for value in (100, 200): stream.broadcast_system_metrics({"throughput_tps": value, "cpu_usage": 0.5})
stream.broadcast_agent_metrics([{"agent_id": "a-1", "agent_name": "Ada", "status": "degraded", "health_score": 0.5}])
stream.broadcast_business_metrics({"money_saved": 9})
stream.broadcast_hero_metrics({"total_transactions": 5})
"""

# How many pixels of the charts on a page differ from the first of their canvas.
PAINTED = """() => [...document.querySelectorAll("canvas")].some((canvas) => {
  const pixels = canvas.width && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels && pixels.some((value, index) => index % 4 === 3 && value > 0);
})"""


def pk(stack: Stack, model: str, slug: str) -> str:
    code = f"from metrics_stream.models import {model}\nprint({model}.objects.get(slug={slug!r}).pk)"
    return stack.manage("shell", "-v", "0", code=code).strip()


def test_pages_for_viewers_are_whole(page: Page, stack: Stack) -> None:
    run = stack.manage("start_run", "Walk", "--source", "producer").strip()
    try:
        stack.publish(PUBLISH)
        for address, heading in {
            "/": "Watch your stress test while it runs.",
            "/runs/": "Runs",
            f"/runs/{run}/": "Walk",
            "/console/": "Console",
            "/login/": "Sign in",
        }.items():
            page.goto(address)
            expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
        for slug in DASHBOARDS:
            page.goto(f"/dashboards/{slug}/")
            expect(page.get_by_text("Live", exact=True)).to_be_visible()
            if slug != "this-machine":
                expect(page.locator("[data-age]")).to_contain_text("ago")
            if slug in {"operations", "agents"}:
                page.wait_for_function(PAINTED)
    finally:
        stack.manage("stop_run", run)


@pytest.mark.parametrize("address", ["/dashboards/operations/", "/console/"])
def test_page_asks_for_all_of_its_modules_at_once(page: Page, address: str) -> None:
    page.goto(address, wait_until="networkidle")
    code = "() => performance.getEntriesByType('resource').map(({name}) => name).filter((name) => name.endsWith('.js'))"
    loaded = set(page.evaluate(code))
    asked = page.locator("link[rel=modulepreload], head script[src]")
    said = set(asked.evaluate_all("(all) => all.map((each) => each.href ?? each.src)"))
    assert len(said) > 10
    assert loaded == said


def test_the_console_talks_to_the_socket(page: Page, stack: Stack) -> None:
    page.goto("/console/")
    page.get_by_role("button", name="Connect", exact=True).click()
    expect(page.locator("[data-fact=client]")).to_have_text(re.compile(r"\w{8}"))
    page.get_by_role("button", name="All", exact=True).click()
    stack.publish("stream.broadcast_hero_metrics({'total_transactions': 5})")
    expect(page.locator("[data-entries]")).to_contain_text("total_transactions")


def test_pages_of_the_admin_are_whole(page: Page, stack: Stack, staff: tuple[str, str]) -> None:
    page.goto("/admin/")
    expect(page.get_by_label("Username:")).to_be_visible()
    sign_in(page, staff, to="/admin/")
    expect(page.get_by_role("heading", level=1).last).to_contain_text("Dashboards, presets and test runs")
    operations, preset = pk(stack, "Dashboard", "operations"), pk(stack, "ClientPreset", "operations")
    for address in (
        "metrics_stream/",
        "metrics_stream/dashboard/",
        "metrics_stream/dashboard/?q=o&published__exact=1",
        "metrics_stream/dashboard/add/",
        f"metrics_stream/dashboard/{operations}/change/",
        f"metrics_stream/dashboard/{operations}/history/",
        f"metrics_stream/dashboard/{operations}/delete/",
        "metrics_stream/panel/",
        "metrics_stream/clientpreset/",
        f"metrics_stream/clientpreset/{preset}/change/",
        f"metrics_stream/clientpreset/{preset}/history/",
        "metrics_stream/testrun/",
        "metrics_stream/testrun/add/",
        "axes/accesslog/",
        "axes/accessattempt/",
        "axes/accessfailurelog/",
        "auth/user/",
        "auth/user/add/",
        "auth/group/add/",
        "password_change/",
    ):
        answer = page.goto(f"/admin/{address}")
        assert (address, answer.status if answer else 0) == (address, 200)
    page.goto(f"/admin/metrics_stream/dashboard/{operations}/history/")
    page.locator("#change-history a").first.click()
    expect(page.get_by_role("heading", level=1).last).to_contain_text("Revert")


def test_dashboards_and_panels_are_sorted_by_dragging(page: Page, stack: Stack, staff: tuple[str, str]) -> None:
    sign_in(page, staff, to="/admin/metrics_stream/dashboard/")
    titles = page.locator("#result_list .field-title")
    expect(titles).to_have_count(len(DASHBOARDS))
    before = titles.all_inner_texts()
    handles = page.locator("#result_list .handle")
    try:
        with page.expect_response("**/adminsortable2_update/") as moved:
            handles.nth(0).drag_to(handles.nth(2))
        assert moved.value.status == 200
        page.reload()
        assert titles.all_inner_texts() != before
        page.goto(f"/admin/metrics_stream/dashboard/{pk(stack, 'Dashboard', 'agents')}/change/")
        cards = page.locator("#panels-group .inline-related.has_original .inline_label")
        panels = cards.all_inner_texts()
        cards.nth(0).drag_to(cards.nth(2))
        page.get_by_role("button", name="Save and continue editing").first.click()
        expect(page.locator(".messagelist .success")).to_be_visible()
        assert sorted(cards.all_inner_texts()) == sorted(panels)
        assert cards.all_inner_texts() != panels
    finally:
        code = "from metrics_stream.models import Dashboard\nDashboard.objects.all().delete()"
        stack.manage("shell", "-v", "0", code=f"{code}\nDashboard.history.all().delete()")
        stack.manage("seed_defaults", "-v", "0")


def test_signed_in_user_is_in_the_header_with_a_button_to_sign_out(page: Page, staff: tuple[str, str]) -> None:
    page.goto("/runs/?q=soak")
    expect(page.get_by_role("link", name="Admin", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("User name").fill(staff[0])
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("The user name or the password is wrong"))
    page.get_by_label("Password").fill(staff[1])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/runs/?q=soak")
    expect(page.locator(".account__name")).to_contain_text("staff")
    expect(page.get_by_role("link", name="Admin", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
