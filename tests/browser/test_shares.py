"""Share links and lost sign-ins in a real browser, on a server that shows nothing to strangers."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.stack import ROOT, Stack

pytestmark = pytest.mark.browser

# Without an address to probe, these dashboards have no publisher.
MEASURED = {"this-machine"}

LOAD = """
from metrics_stream.broadcast import Sketch
sketch = Sketch()
sketch.add(20.0)
names = ("throughput_tps", "error_rate", "p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms")
numbers = dict.fromkeys(names, 0.5)
stream.broadcast("system", {**numbers, "users": 3, "sketches": {"response_time_ms": sketch.encode()}})
stream.broadcast("request", [{**numbers, "name": "/", "method": "GET", "requests_total": 1}])
stream.broadcast("error", [{"name": "/", "method": "GET", "message": "HTTP 500", "occurrences_total": 1}])
"""


@pytest.fixture(scope="module")
def closed(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a server that requires authentication, with programs that publish for all seeded dashboards."""
    stack = Stack(tmp_path_factory.mktemp("closed"), f"{valkey_url}/5", GROUP_PREFIX="shares", ANONYMOUS_READ="0")
    stack.make_database(seeded=True)
    stack.start()
    producers = [
        subprocess.Popen(
            [sys.executable, "manage.py", command], cwd=ROOT, env=stack.environment, stdout=subprocess.PIPE
        )
        for command in ("emit_demo_metrics", "emit_host_metrics")
    ]
    yield stack
    for producer in producers:
        producer.terminate()
        producer.communicate()
    stack.stop(signal.SIGKILL)


@pytest.fixture
def visitor(browser: Browser, closed: Stack) -> Iterator[Page]:
    """Open a page without any cookie; a script error fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=closed.url)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


def links(stack: Stack) -> dict[str, str]:
    """Make a link to each dashboard; return their texts by slug."""
    code = """
from metrics_stream.models import Dashboard, ShareLink
for dashboard in Dashboard.objects.all():
    print("made", dashboard.slug, ShareLink.issue(name=dashboard.title, dashboard=dashboard)[1])
"""
    lines = [line.split() for line in stack.manage("shell", code=code).splitlines()]
    return {words[-2]: words[-1] for words in lines if "made" in words}


def test_every_panel_of_every_dashboard_shows_something_to_whoever_has_its_link(visitor: Page, closed: Stack) -> None:
    for slug, text in links(closed).items():
        visitor.goto(f"/share/{text}/")
        expect(visitor).to_have_url(f"{closed.url}/dashboards/{slug}/")
        expect(visitor.get_by_text("Live", exact=True)).to_be_visible()
        if slug == "load-test":
            closed.publish(LOAD, source="load")
        waiting = visitor.locator("[data-panel-waiting]:visible")
        # Panels of what only a probe measures stay empty on the machine's own dashboard.
        expect(waiting).to_have_count(5 if slug in MEASURED else 0, timeout=15_000)
        expect(visitor.get_by_role("link", name="Console")).to_have_count(0)
        visitor.context.clear_cookies()
    log = closed.log.read_text()
    assert not any(text.partition(".")[0] in log for text in links(closed).values())


def test_screen_goes_on_after_the_server_was_gone_and_says_when_its_link_has_ended(
    visitor: Page, closed: Stack
) -> None:
    text = links(closed)["operations"]
    visitor.goto(f"/share/{text}/")
    badge = visitor.locator("[data-connection-badge]")
    expect(badge).to_have_text("Live")
    closed.stop(signal.SIGKILL)
    closed.start()
    expect(badge).to_have_text("Live", timeout=20_000)
    visitor.reload()
    expect(badge).to_have_text("Live")
    closed.manage(
        "shell", code="from metrics_stream.models import ShareLink; [x.revoke() for x in ShareLink.objects.all()]"
    )
    expect(badge).to_have_text("Stopped")
    reason = visitor.locator("[data-connection-reason]")
    expect(reason).to_have_text("the link does not work any more; ask for a new one")
    visitor.get_by_role("button", name="Reconnect").click()
    expect(badge).to_have_text("Stopped")
    visitor.goto(f"/share/{text}/")
    expect(visitor.get_by_role("heading")).to_have_text("This link does not work any more")


def test_page_of_a_link_that_expires_does_not_try_on(visitor: Page, closed: Stack) -> None:
    visitor.goto(f"/share/{links(closed)['agents']}/")
    badge = visitor.locator("[data-connection-badge]")
    expect(badge).to_have_text("Live")
    code = "from django.utils import timezone\nfrom metrics_stream.models import ShareLink\n"
    code += "for link in ShareLink.objects.all():\n    link.expires_at = timezone.now()\n    link.save()\n\n"
    closed.manage("shell", code=code)
    expect(badge).to_have_text("Link ended", timeout=15_000)
    expect(visitor.get_by_text("This link does not work any more. Ask for a new one.").first).to_be_visible()
    expect(visitor.get_by_role("button", name="Reconnect")).to_be_hidden()


def test_sign_out_elsewhere_is_shown_on_every_page(visitor: Page, closed: Stack) -> None:
    code = (
        "from django.contrib.auth import get_user_model; get_user_model().objects.create_superuser('ada', '', 'x-y-z')"
    )
    closed.manage("shell", code=code)
    closed.manage("start_run", "soak")
    visitor.goto("/admin/login/")
    visitor.get_by_label("Username").fill("ada")
    visitor.get_by_label("Password").fill("x-y-z")
    visitor.get_by_role("button", name="Log in").click()
    visitor.wait_for_url("**/admin/")
    pages = {
        path: visitor.context.new_page() for path in ("/dashboards/operations/?source=demo", "/console/", "/runs/")
    }
    for path, page in pages.items():
        page.goto(path)
    dashboard, console, runs = pages.values()
    console.get_by_role("button", name="Connect", exact=True).click()
    expect(console.get_by_text("Connected", exact=True).first).to_be_visible()
    expect(dashboard.locator("[data-connection-badge]")).to_have_text("Live")
    visitor.get_by_role("button", name="Log out").click()
    expect(dashboard.locator("[data-connection-reason]")).to_have_text("you are signed out; sign in again")
    back = dashboard.get_by_role("link", name="Sign in again").get_attribute("href") or ""
    assert back.endswith("/?next=%2Fdashboards%2Foperations%2F%3Fsource%3Ddemo")
    expect(dashboard.locator(".notice--floating")).to_have_count(0)
    dashboard.get_by_role("button", name="Reconnect").click()
    expect(dashboard.locator("[data-connection-badge]")).to_have_text("Signed out")
    expect(dashboard.get_by_text("You have been signed out.").first).to_be_visible()
    expect(dashboard.get_by_role("link", name="Sign in again")).to_be_visible()
    expect(console.get_by_role("link", name="Sign in", exact=True)).to_be_visible()
    console.get_by_role("button", name="Connect", exact=True).click()
    expect(console.get_by_text("The server requires authentication")).to_be_visible()
    expect(runs.get_by_text("You have been signed out.")).to_be_visible(timeout=10_000)
    assert "next=/runs/" in (runs.get_by_role("link", name="Sign in again").get_attribute("href") or "")
