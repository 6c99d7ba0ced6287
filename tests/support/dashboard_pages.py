"""Dashboards in a browser: their panels, and what they show of the time."""

from playwright.sync_api import Locator, Page

from tests.support.stack import Stack


def panel(page: Page, title: str, kind: str) -> Locator:
    """Return a panel by its title and kind."""
    heading = page.get_by_role("heading", name=title, exact=True)
    return page.locator(f'.panel[data-kind="{kind}"]').filter(has=heading)


def figure(page: Page) -> Locator:
    """Return the large number of the panel Throughput."""
    return panel(page, "Throughput", "number").locator(".number__figure")


def badge(page: Page) -> Locator:
    """Return the text of the connection's state."""
    return page.locator("[data-connection-words]")


def publish(stack: Stack, *values: float) -> None:
    """Publish values of the throughput."""
    stack.publish(f"for value in {values}: stream.broadcast_system_metrics({{'throughput_tps': value}})")


def open_operations(page: Page, query: str = "") -> None:
    """Open the dashboard Operations."""
    page.goto(f"/dashboards/operations/{query}")
