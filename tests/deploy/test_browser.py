"""A real browser over https, through the shipped nginx: the strictest headers and cookies, and everything works."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, TELL_REFUSED, chromium
from tests.deploy.conftest import HOST, Proxy
from tests.support.stack import Stack

__all__ = ["chromium"]

pytestmark = [pytest.mark.browser, pytest.mark.valkey]


@pytest.fixture
def context(chromium: str, nginx: Proxy) -> Iterator[BrowserContext]:
    arguments = [*ARGUMENTS, f"--host-resolver-rules=MAP {HOST} 127.0.0.1", "--ignore-certificate-errors"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        context = browser.new_context(base_url=nginx.origin)
        context.add_init_script(TELL_REFUSED)
        yield context
        browser.close()


def test_a_person_signs_in_and_watches(context: BrowserContext, stack: Stack) -> None:
    errors: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto("/login/?next=/dashboards/operations/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill((stack.folder / "password").read_text().strip())
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    stack.publish("stream.broadcast_system_metrics({'throughput_tps': 111})")
    expect(page.get_by_text(re.compile("111")).first).to_be_visible()
    cookies = {cookie["name"]: cookie for cookie in context.cookies()}
    assert set(cookies) == {"sessionid", "csrftoken"}
    for cookie in cookies.values():
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert errors == []
    page.goto("/nowhere/")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    # The browser says that the page was a 404, and nothing else.
    assert [error for error in errors if "404" not in error] == []
