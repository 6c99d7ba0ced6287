"""Panels of the kind histogram on a dashboard, live over a real stack."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.stack import Stack

pytestmark = pytest.mark.browser

CREATE = """
from metrics_stream.models import Dashboard, Panel
dashboard = Dashboard.objects.create(title="Latency", slug="latency")
panel = Panel(dashboard=dashboard, title="Spread", kind="histogram", metric_type="system", fields=["response_time_ms"])
panel.full_clean()
panel.save()
"""

PUBLISH = """
from metrics_stream.broadcast import Sketch
for value in (10.0, 200.0):
    sketch = Sketch()
    sketch.add(value, count=50)
    stream.broadcast_system_metrics({"sketches": {"response_time_ms": sketch.encode()}})
"""


@pytest.fixture
def latency(stack: Stack) -> Iterator[str]:
    """Create a dashboard with one histogram; return its address."""
    stack.manage("shell", "-v", "0", code=CREATE)
    yield "/dashboards/latency/"
    delete = "from metrics_stream.models import Dashboard\nDashboard.objects.filter(slug='latency').delete()"
    stack.manage("shell", "-v", "0", code=delete)


def test_histogram_fills_with_live_sketches(page: Page, stack: Stack, latency: str) -> None:
    page.goto(latency)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.locator("[data-panel-waiting-text]")).to_have_text("Waiting for system metrics…")
    stack.publish(PUBLISH)
    picture = page.get_by_role("img", name=re.compile(r"^Histogram of Response time: 100 values in "))
    expect(picture).to_be_visible()
    expect(page.locator(".histogram__figure dd")).to_have_text(["198\u00a0ms", "198\u00a0ms", "198\u00a0ms"])
    expect(page.locator(".histogram__bars > :not([data-empty])")).to_have_count(2)
    assert page.get_by_role("row").all_inner_texts()[0].split() == ["Over", "Up", "to", "Values"]
    stack.publish(PUBLISH, source="other")
    expect(page.get_by_role("img", name=re.compile("200 values"))).to_be_visible()
    page.get_by_label("Source").select_option("other")
    expect(page.get_by_role("img", name=re.compile("100 values"))).to_be_visible()
