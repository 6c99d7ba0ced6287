"""The page Explore: what is listed, how it is searched and sorted, and the chart of one line."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.dashboard_pages import badge
from tests.support.stack import Stack

QUEUES = "stream.broadcast('queue_of_tests', {'depth': 12, 'waits': {'p95': 3.5}, 'state': 'busy'})"


def lines(page: Page):
    return page.locator(".lines__line")


def line(page: Page, path: str):
    return lines(page).filter(has=page.get_by_role("button", name=path, exact=True))


@pytest.fixture
def published(page: Page, stack: Stack) -> Page:
    """A page that is live, and metrics of a type, fields and agents that nobody has described."""
    page.goto("/explore/")
    expect(badge(page)).to_have_text("Live")
    stack.publish(
        f"{QUEUES}\n"
        "stream.broadcast_system_metrics({'throughput_tps': 950.0, 'error_rate': 0.02})\n"
        "stream.broadcast_agent_metrics([{'agent_id': f'a{n}', 'current_load': n / 10} for n in range(3)])"
    )
    return page


def test_an_unknown_type_is_listed_and_charted_with_the_mouse_alone(published, stack):
    page = published
    expect(line(page, "depth")).to_be_visible()
    expect(line(page, "depth").locator(".lines__value")).to_have_text("12.0")
    expect(line(page, "depth").locator(".lines__type")).to_have_text("Queue of tests")
    expect(line(page, "waits.p95").locator(".lines__value")).to_have_text("3.50")
    expect(line(page, "state").locator(".lines__value")).to_have_text("busy")
    page.get_by_role("searchbox").fill("throughput")  # only lines in sight are in the document
    expect(line(page, "Throughput").locator(".lines__value")).to_have_text(re.compile(r"950.tps"))
    page.get_by_role("searchbox").fill("queue of tests")
    line(page, "depth").click()
    expect(page.get_by_role("heading", name="depth")).to_be_visible()
    expect(page.locator("[data-chart] canvas")).to_be_visible()
    # The chart fills its card: without the styles of plots it is a line of some pixels.
    card = page.locator("[data-chart]").bounding_box()
    plot = page.locator("[data-chart] canvas").bounding_box()
    assert plot["height"] > 0.6 * card["height"] > 100
    assert "type=queue_of_tests" in page.url
    assert "field=depth" in page.url
    page.reload()
    expect(page.locator("[data-chart] canvas")).to_be_visible()
    expect(page.locator(".line__legend, .legend").first).to_contain_text("12")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("[data-chart-card]")).to_be_hidden()
    page.go_back()
    expect(page.get_by_role("heading", name="depth")).to_be_visible()


def test_lines_are_searched_and_sorted(published):
    page = published
    expect(line(page, "depth")).to_be_visible()
    search = page.get_by_role("searchbox")
    search.fill("load a2")
    expect(lines(page)).to_have_count(1)
    expect(lines(page)).to_contain_text("a2")
    expect(page.locator("[data-count]")).to_have_text(re.compile(r"^1 of \d+ fields$"))
    assert "q=load+a2" in page.url
    search.fill("no such thing")
    expect(page.get_by_text("Nothing that was seen lately matches.")).to_be_visible()
    search.fill("agent load")
    page.get_by_role("button", name="Newest value").click()
    expect(lines(page)).to_have_count(3)
    shown = page.locator(".lines__line").evaluate_all(
        "nodes => nodes.map((n) => [n.getBoundingClientRect().top, n.querySelector('.lines__row').textContent])"
    )
    assert [row for _, row in sorted(shown)] == ["a2", "a1", "a0"]
    expect(page.locator('[data-sort-header="value"]')).to_have_attribute("aria-sort", "descending")


def test_an_empty_page_says_how_to_publish_and_a_label_arrives_by_itself(page, stack):
    page.goto("/explore/?q=label_of_tests")
    expect(badge(page)).to_have_text("Live")
    stack.publish("stream.broadcast('label_of_tests', {'wait': 12})")
    expect(line(page, "wait")).to_be_visible()
    stack.manage(
        "shell",
        "-v",
        "0",
        code="from metrics_stream.models import *\n"
        "one = MetricTypeDeclaration.objects.get(slug='label_of_tests')\n"
        "one.label = 'Labelled'\none.save()\n"
        "MetricTypeField.objects.create(metric_type=one, name='wait', label='Waiting time', unit='ms')",
    )
    expect(line(page, "Waiting time")).to_be_visible()
    expect(line(page, "Waiting time").locator(".lines__value")).to_have_text(re.compile(r"12.0.ms"))
    expect(line(page, "Waiting time").locator(".lines__type")).to_have_text("Labelled")
