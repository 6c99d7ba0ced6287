"""Dashboards with several sources, in a real browser: long names, and windows that differ."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.dashboard_pages import open_operations, panel
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

TWO_SOURCES = """
for source, seconds in (('a-very-long-name-' * 12)[:200], 10), ('short', 1):
    stream.broadcast_system_metrics(
        {'throughput_tps': 5.0, 'error_rate': 0.0}, source=source, windows={'throughput_tps': seconds}
    )
"""


def test_long_names_are_cut_and_different_windows_are_said(page: Page, stack: Stack) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    stack.publish(TWO_SOURCES)
    open_operations(page)
    throughput = panel(page, "Throughput", "line")
    expect(throughput.locator(".line__value")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for value in throughput.locator(".line__value").all():
        box, outer = value.bounding_box(), throughput.bounding_box()
        assert box is not None
        assert outer is not None
        assert box["x"] + box["width"] <= outer["x"] + outer["width"]
    expect(throughput.get_by_title(re.compile("^a-very-long-name-.*\nShow or hide this line"))).to_be_visible()
    mark = throughput.locator("[data-panel-windows]")
    expect(mark).to_have_text("different windows")
    expect(mark).to_have_attribute("title", re.compile(r"Throughput: 10 s \(a-very-.*\), 1 s \(short\)"))
    expect(panel(page, "Error rate", "number").locator("[data-panel-windows]")).to_be_hidden()
