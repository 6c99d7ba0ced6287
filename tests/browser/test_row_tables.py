"""Tables of rows on a page of their own: order, search, totals, and more rows than elements."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser_modules import run
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

NAMES = ["/api/orders", "/api/users", "/login"]

TABLE = """
  const {Store} = await import("/static/metrics_stream/client/store.js");
  const fields = [
    {path: "requests_total", label: "Requests", unit: "count", kind: "counter"},
    {path: "p95_response_time_ms", label: "p95", unit: "ms", kind: "percentile"},
    {path: "status", label: "Status", unit: "", kind: "text"},
  ];
  const host = document.createElement("div");
  host.className = "panel__body";
  host.style.cssText = "width: 900px; height: 300px; display: flex; flex-direction: column";
  document.body.append(host);
  const store = new Store([]);
  const nowMs = Date.UTC(2026, 0, 31, 12);
  const publish = (rows, source = "east") => store.add({
    metric_type: "request", source, timestamp: new Date(nowMs).toISOString(),
    key: ["name", "method", "scenario", "group"], data: rows,
  }, nowMs);
  const chart = new module.TableChart({
    id: 7, title: "Requests", kind: "table", metric_type: "request", fields, unit: "", decimals: null,
    warning_at: null, critical_at: null, options: {}, ...argument.panel,
  }, host);
  publish(argument.rows);
  for (const rows of argument.others ?? []) publish(rows, `other ${argument.others.indexOf(rows)}`);
  const paint = () => chart.paint({store, source: null, moment: {nowMs, windowMs: null, zoom: null}});
  globalThis.shown = {host, chart, paint, publish};
  return paint();
"""

TEXTS = """(selector) => [...shown.host.querySelectorAll(`${selector} tr`)]
  .filter((row) => !row.closest("[hidden], [aria-hidden]"))
  .map((row) => [...row.children].map((cell) => cell.textContent.replace(/\\u00a0/g, " ")))"""


@pytest.fixture
def page(browser: Any, stack: Stack) -> Iterator[Page]:
    """Open a page with the style sheets of a table."""
    opened = browser.new_page(base_url=stack.url, viewport={"width": 1000, "height": 800})
    opened.goto("/healthz")
    for sheet in ("tokens", "base", "components", "dashboard", "charts/table"):
        opened.add_style_tag(url=f"/static/metrics_stream/css/{sheet}.css")
    yield opened
    opened.close()


def request(name: str, total: int, p95: float, **rest: Any) -> dict[str, Any]:
    return {"name": name, "method": "GET", "requests_total": total, "p95_response_time_ms": p95, **rest}


def show(page: Page, rows: list[dict[str, Any]], **argument: Any) -> None:
    assert run(page, "charts/table", TABLE, {"panel": {}, **argument, "rows": rows})


def body(page: Page) -> list[list[str]]:
    return page.evaluate(TEXTS, "tbody")


def heads(page: Page) -> list[str]:
    return [row[0] for row in body(page)]


def test_table_sorts_by_any_column_with_mouse_and_keyboard_and_remembers_it(page: Page):
    rows = [request(name, 10 * place, 300 - place, status="ok") for place, name in enumerate(NAMES)]
    show(page, [*rows, {"name": "(other)", "requests_total": 10_000, "folded_rows": 3_000}])
    # The largest count comes first, and the rest of the names last.
    assert heads(page) == ["GET /login", "GET /api/users", "GET /api/orders", "(other)"]
    requests, p95 = (page.get_by_role("columnheader", name=name) for name in ("Requests", "p95"))
    expect(requests).to_have_attribute("aria-sort", "descending")
    p95.get_by_role("button").click()
    assert heads(page) == ["GET /api/orders", "GET /api/users", "GET /login", "(other)"]
    expect(p95).to_have_attribute("aria-sort", "descending")
    assert requests.get_attribute("aria-sort") is None
    page.keyboard.press("Enter")
    assert heads(page) == ["GET /login", "GET /api/users", "GET /api/orders", "(other)"]
    expect(p95).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("columnheader", name="Request", exact=True).get_by_role("button").click()
    assert heads(page) == ["GET /api/orders", "GET /api/users", "GET /login", "(other)"]
    expect(page.locator(".panel__more")).to_have_text("3,000 more names in (other)")
    # New values keep the order; so does the page when it is opened again.
    page.evaluate("rows => { shown.publish(rows); shown.paint(); }", [request("/a", 1, 1)])
    assert heads(page)[0] == "GET /a"
    page.evaluate("shown.chart.stop()")
    show(page, rows)
    assert heads(page) == ["GET /api/orders", "GET /api/users", "GET /login"]


def test_total_counts_what_adds_up_and_leaves_out_what_does_not(page: Page):
    rows = [request(name, 10, 300, scenario="smoke" if name == "/login" else None) for name in NAMES]
    show(page, rows, others=[[request("/login", 5, 700, scenario="smoke")]])
    assert page.evaluate(TEXTS, "thead") == [["Request", "Scenario", "Requests", "p95", "Status"]]
    assert ["GET /login", "smoke", "15", "≤ 700 ms", "–"] in body(page)
    assert page.evaluate(TEXTS, "tfoot") == [["Total", "", "35", "–", "–"]]
    # A missing number stands below the others.
    assert page.locator("tfoot td[data-numeric]").count() == 2


def test_search_field_finds_rows_by_their_names(page: Page):
    show(page, [request(f"/api/{number}", number, 1) for number in range(30)])
    field = page.get_by_role("searchbox", name="Search in Requests")
    expect(page.locator(".rows__count")).to_have_text("30 rows")
    field.fill("/API/2")
    assert heads(page) == [f"GET /api/{number}" for number in (29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 2)]
    expect(page.locator(".rows__count")).to_have_text("11 of 30 rows")
    assert page.evaluate(TEXTS, "tfoot")[0][:2] == ["Total of the found", str(sum(range(20, 30)) + 2)]
    field.fill("nothing")
    assert heads(page) == []
    page.keyboard.press("Escape")
    expect(field).to_have_value("")
    assert len(heads(page)) == 30
    # A few rows are found without it.
    page.evaluate("shown.chart.stop()")
    show(page, [request("/", 1, 1)])
    expect(page.get_by_role("searchbox")).to_be_hidden()


def test_thousand_rows_are_scrolled_with_few_elements(page: Page):
    show(page, [request(f"/r{number}", 1_000 - number, 1) for number in range(1_000)])
    scroller = page.get_by_role("region", name="Requests")
    assert len(heads(page)) < 50
    expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "1001")
    height = scroller.evaluate("node => node.scrollHeight")
    scroller.evaluate("node => { node.scrollTop = node.scrollHeight / 2 }")
    expect(page.get_by_role("table")).to_contain_text("GET /r500")
    rows = page.locator("tbody tr[aria-rowindex]")
    assert int(rows.first.get_attribute("aria-rowindex") or 0) > 400
    assert abs(scroller.evaluate("node => node.scrollHeight") - height) < 40
    scroller.evaluate("node => { node.scrollTop = node.scrollHeight }")
    expect(page.get_by_role("table")).to_contain_text("GET /r999")


def test_names_are_text(page: Page):
    show(page, [request("<img src=x onerror=alert(1)>", 1, 1, status="<b>bad</b>")])
    assert body(page) == [["GET <img src=x onerror=alert(1)>", "1", "1.0 ms", "<b>bad</b>"]]
    assert page.locator("tbody img, tbody b").count() == 0
