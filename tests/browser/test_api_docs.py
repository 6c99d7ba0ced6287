"""The page `/api/v1/docs/`: it tries the API with the session of the browser, under the Content-Security-Policy."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_in
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

DOCUMENT = {"schema_version": 1, "slug": "from-docs", "title": "From the docs"}


def test_the_page_reads_imports_and_listens(page: Page, stack: Stack, staff: tuple[str, str]) -> None:
    sign_in(page, staff, to="/api/v1/docs/")
    listed = page.locator("#presets-get")
    listed.locator("summary").click()
    listed.get_by_role("button", name="Send").click()
    expect(listed.get_by_role("status")).to_contain_text("200")
    expect(listed.locator("[data-answer]")).to_contain_text('"slug": "standard"')
    expect(listed.locator("[data-call]")).to_contain_text("curl")

    wrong = page.locator("#runs-get")
    wrong.locator("summary").click()
    wrong.get_by_label("limit").fill("0")
    wrong.get_by_role("button", name="Send").click()
    expect(wrong.locator("[data-answer]")).to_contain_text("`limit` is '0'; allowed: a whole number from 1 to 1,000")

    imported = page.locator("#dashboards-post")
    imported.locator("summary").click()
    imported.locator("[data-body]").fill(json.dumps(DOCUMENT))
    imported.get_by_role("button", name="Send").click()
    expect(imported.get_by_role("status")).to_contain_text("201")

    stream = page.locator("#stream-get")
    stream.locator("summary").click()
    stream.get_by_label("types").fill("system")
    stream.get_by_role("button", name="Send").click()
    expect(stream.locator("[data-answer]")).to_contain_text("event: subscription_confirmed")
    stack.publish('stream.broadcast_system_metrics({"throughput_tps": 4711})')
    expect(stream.locator("[data-answer]")).to_contain_text('"throughput_tps":4711')
    stream.get_by_role("button", name="Stop").click()
    expect(stream.get_by_role("status")).to_contain_text("Stopped.")
