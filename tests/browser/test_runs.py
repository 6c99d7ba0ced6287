"""The pages of test runs in a real browser, over a real stack: they follow a run, and what they offer works."""

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Download, Page, expect

from metrics_stream.core.formatting import format_number
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

EXTREMES = "for value in (10, 500, 20): stream.broadcast_system_metrics({'throughput_tps': value, 'error_rate': 0.25})"


@pytest.fixture
def slug(stack: Stack) -> Iterator[str]:
    """Start a run; end it when the test has not done so, since other tests want none."""
    # Not of every source: the server publishes how it fares, too.
    options = ("--tag", "release-42", "--target-tps", "1000", "--source", "producer")
    started = stack.manage("start_run", "Checkout soak", *options).strip()
    yield started
    stack.manage(
        "shell",
        "-v",
        "0",
        code="from metrics_stream.runs import lifecycle as runs\nfor run in runs.current(): runs.cancel(run)",
    )


def fact(page: Page, name: str) -> Any:
    return page.locator(".run-facts__list div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def content(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def test_page_of_a_run_follows_it_to_its_end(page: Page, stack: Stack, slug: str) -> None:
    page.goto(f"/runs/{slug}/")
    expect(page.get_by_role("heading", name="Checkout soak")).to_be_visible()
    expect(page.get_by_text("Running", exact=True)).to_be_visible()
    expect(page.get_by_text("Metrics published by producer from now on belong to this run.")).to_be_visible()
    stack.publish(EXTREMES)
    expect(fact(page, "Metrics recorded")).to_have_text("3", timeout=20_000)
    row = page.locator(".run-series tbody tr").filter(has_text="throughput_tps")
    expect(row.locator("td")).to_have_text(["3", "10.0 tps", "177 tps", "500 tps", "20.0 tps"])
    stack.manage("stop_run", slug)
    expect(page.get_by_text("Completed", exact=True)).to_be_visible(timeout=20_000)
    expect(page.locator("[data-refresh-seconds]")).to_have_count(0, timeout=20_000)


def test_what_a_person_opened_stays_open_and_focus_stays(page: Page, stack: Stack, slug: str) -> None:
    page.goto(f"/runs/{slug}/")
    stack.publish(EXTREMES)
    group = page.locator(".run-group").first
    expect(group).to_have_attribute("open", "", timeout=20_000)
    group.locator("summary").click()
    expect(group).not_to_have_attribute("open", "")
    stack.publish(EXTREMES)
    expect(fact(page, "Metrics recorded")).to_have_text("6", timeout=20_000)
    expect(group).not_to_have_attribute("open", "")
    expect(group.locator("summary")).to_be_focused()


def test_files_of_a_run_are_whole(page: Page, stack: Stack, slug: str) -> None:
    stack.publish(EXTREMES)
    stack.manage("stop_run", slug)
    page.goto(f"/runs/{slug}/")
    expect(page.locator("[data-refresh-seconds]")).to_have_count(0, timeout=20_000)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == f"{slug}.csv"
    rows = list(csv.reader(content(download.value).decode().splitlines()))
    assert [row[-2:] for row in rows[1::2]] == [
        ["throughput_tps", "10"],
        ["throughput_tps", "500"],
        ["throughput_tps", "20"],
    ]
    with page.expect_download() as download:
        page.get_by_role("link", name="NDJSON").click()
    assert download.value.suggested_filename == f"{slug}.ndjson.gz"
    assert gzip.decompress(content(download.value)).count(b'"throughput_tps"') == 3


def test_list_finds_a_run_and_its_row_leads_to_it(page: Page, stack: Stack, slug: str) -> None:
    page.goto("/runs/")
    page.get_by_label("Search in names, tests, tags, parameters and notes").fill("release-42 soak")
    page.keyboard.press("Enter")
    # The page before has the row, too; and only with its style sheet does the link of the name cover the whole row.
    page.wait_for_url("**/runs/?q=*", wait_until="load")
    row = page.locator(".runs__row").first
    expect(row.get_by_text("Running", exact=True)).to_be_visible()
    row.locator(".runs__number").first.click(force=True)
    expect(page).to_have_url(re.compile(f"/runs/{slug}/$"), timeout=20_000)
    page.get_by_role("link", name="release-42").click()
    expect(page).to_have_url(re.compile(r"/runs/\?q=release-42$"))


def test_home_page_leads_to_the_run_that_goes_on(page: Page, slug: str) -> None:
    page.goto("/")
    page.get_by_role("link", name=re.compile("Checkout soak")).click()
    expect(page).to_have_url(re.compile(f"/runs/{slug}/$"))


def test_addresses_of_dashboards_say_what_their_links_say(page: Page, stack: Stack, slug: str) -> None:
    stack.publish(EXTREMES)
    stack.manage("stop_run", slug)
    page.goto(f"/runs/{slug}/")
    expect(page.locator("[data-refresh-seconds]")).to_have_count(0, timeout=20_000)
    read = """async (link) => {
      const {readTimeLink} = await import("/static/metrics_stream/client/time_link.js");
      return [new URL(link.href).pathname, readTimeLink(new URL(link.href).searchParams)];
    }"""
    whole = page.get_by_role("link", name="Whole run: Operations").evaluate(read)
    live = {"run": None, "atMs": None, "speed": 1, "isPaused": False, "window": None, "zoom": None}
    assert whole == ["/dashboards/operations/", {**live, "run": slug}]
    address, link = page.get_by_role("link", name="Replay from the start: Operations").evaluate(read)
    first = page.evaluate(
        "(node) => Date.parse(node.dateTime)", fact(page, "First metric").locator("time").element_handle()
    )
    assert (address, link) == ("/dashboards/operations/", {**live, "run": slug, "atMs": first})


def test_server_that_is_away_is_said_to_be(page: Page, slug: str) -> None:
    page.clock.install()
    page.goto(f"/runs/{slug}/")
    problem = page.get_by_text("The server does not answer")
    expect(problem).to_be_hidden()
    page.route("**/runs/**", lambda route: route.abort())
    page.clock.run_for(6_000)
    expect(problem).to_be_visible()
    page.unroute("**/runs/**")
    page.clock.run_for(6_000)
    expect(problem).to_be_hidden()


def test_hidden_page_asks_for_nothing(page: Page, slug: str) -> None:
    page.clock.install()
    page.goto(f"/runs/{slug}/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", {value: true, configurable: true});
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    page.clock.run_for(60_000)
    assert [url for url in asked if "/runs/" in url] == []
    with page.expect_response(re.compile(f"/runs/{slug}/$")):
        page.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")


def test_times_are_those_of_the_viewer(browser: Any, stack: Stack, slug: str) -> None:
    for zone, offset in (("Asia/Kolkata", 330), ("UTC", 0)):
        context = browser.new_context(base_url=stack.url, timezone_id=zone)
        page = context.new_page()
        page.goto(f"/runs/{slug}/")
        shown = page.locator("time").first
        expect(shown).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"))
        expect(shown).to_have_attribute("title", re.compile(r"UTC$"))
        minutes = page.evaluate(
            "(node) => (Date.parse(node.textContent.replace(' ', 'T') + 'Z') - Date.parse(node.dateTime)) / 60000",
            shown.element_handle(),
        )
        assert round(minutes) == offset
        context.close()


@pytest.mark.parametrize("address", ["/runs/", "/runs/{slug}/"])
def test_phone_scrolls_tables_and_not_the_page(page: Page, stack: Stack, slug: str, address: str) -> None:
    stack.publish(EXTREMES)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address.format(slug=slug))
    expect(page.locator(".run-status").first).to_be_visible()
    if "{" in address:
        expect(page.locator(".run-group__scroller")).to_be_visible(timeout=20_000)
        assert page.evaluate("() => document.querySelector('.run-group__scroller').scrollWidth > 390")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


def test_numbers_of_the_server_are_those_of_the_browser(page: Page) -> None:
    values = [0, 0.00002, 0.034, 0.125, 0.995, 1, 2.5, 9.995, 99.95, 100, 999.5, 1234.5, 9_999.5, 59_950, 123_456]
    values += [999_950, 1e6, 4.56e9, 7e12, 99.93, 172_800, 5_995, 86_400, 2.0**63, 1.79e308 / 100]
    values += [-value for value in values]
    units = ["", "ratio", "percent", "ms", "s", "tps", "/s", "Mbps", "MB", "$", "count", "months", "score", "widgets"]
    page.goto("/healthz")
    code = """async ([values, units]) => {
      const {formatNumber} = await import("/static/metrics_stream/client/format.js");
      return units.map((unit) => values.map((value) => formatNumber(value, unit)));
    }"""
    shown = page.evaluate(code, [values, units])
    assert shown == [[format_number(value, unit) for value in values] for unit in units]
