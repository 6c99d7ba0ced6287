"""The dashboard Load test over a real stack: a test, its requests by name, and its errors."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.dashboard_pages import panel
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

PUBLISH = """
import time
from metrics_stream.broadcast import Sketch
sketch = Sketch()
for value in (20.0, 40.0, 400.0):
    sketch.add(value, count=100)
def request(name, method, total, failed, p95):
    return {"name": name, "method": method, "requests_total": total, "requests_failed": failed,
            "throughput_tps": total / 10, "error_rate": failed / total, "avg_response_time_ms": 30.0,
            "p95_response_time_ms": p95, "max_response_time_ms": 2 * p95}
at = time.time()
def publish(source):
    for second in (-2, -1, 0):
        publish_at(second, source)
def publish_at(second, source):
    stream.broadcast("system", {"users": 12, "throughput_tps": 90.0 - second, "error_rate": 0.02,
        "p50_response_time_ms": 25.0, "p95_response_time_ms": 100.0, "p99_response_time_ms": 400.0,
        "sketches": {"response_time_ms": sketch.encode()}}, at + second, source=source)
    stream.broadcast("request", [request("/users", "GET", 800, 0, 50.0), request("/users", "POST", 100, 20, 300.0)],
        at + second, source=source)
publish("locust")
stream.broadcast("system", {"cpu_utilization": 0.5, "throughput_tps": 5.0}, source="machine")
"""

ERRORS = """
stream.broadcast("error", [{"name": "/users", "method": "POST", "message": "HTTP 503", "occurrences_total": 20}])
"""


def test_load_test_at_a_glance(page: Page, stack: Stack) -> None:
    page.goto("/dashboards/load-test/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(panel(page, "Requests", "table")).to_contain_text("Waiting for request metrics…")
    stack.publish(PUBLISH)

    # The machine beside the load generator publishes no requests.
    expect(panel(page, "Users", "number").locator(".number__text")).to_have_text("12")
    expect(panel(page, "Requests per second", "number").locator(".number__text")).to_have_text("90.0")
    expect(panel(page, "Failures", "number")).to_have_attribute("data-level", "warn")
    requests = panel(page, "Requests", "table").get_by_role("row")
    expect(requests.nth(1)).to_contain_text("GET /users")
    expect(requests.nth(2)).to_contain_text(re.compile("POST /users.*300"))
    expect(requests.last).to_contain_text(re.compile("^Total900"))
    slowest = panel(page, "Slowest requests, p95", "line").locator(".line__item")
    expect(slowest.first).to_contain_text("POST /users")
    expect(page.get_by_role("img", name=re.compile("^Heat map of Response time.*900 values"))).to_be_visible()
    against = panel(page, "Latency against load", "scatter").get_by_role("img")
    expect(against).to_have_attribute("aria-label", re.compile("3 points; now 90.0.*100"))

    expect(panel(page, "Errors", "table")).to_contain_text("No errors so far")
    stack.publish(ERRORS, source="locust")
    expect(panel(page, "Errors", "table").get_by_role("row").last).to_contain_text(re.compile("POST /usersHTTP 50320"))

    # Two load generators are one test.
    stack.publish(f"{PUBLISH}publish('locust-2')")
    expect(panel(page, "Users", "number").locator(".number__text")).to_have_text("24")
    expect(requests.nth(2)).to_contain_text(re.compile("POST /users200"))
    page.locator("[data-source-picker]").select_option("locust-2")
    expect(panel(page, "Users", "number").locator(".number__text")).to_have_text("12")
    expect(requests.nth(2)).to_contain_text(re.compile("POST /users100"))

    # The past has the lines again, when the page is opened later.
    page.reload()
    expect(slowest.first).to_contain_text("POST /users")
    expect(panel(page, "Requests", "table").get_by_role("row").nth(2)).to_contain_text("POST /users")
