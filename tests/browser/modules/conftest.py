"""A page in which JavaScript modules can be imported."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support.stack import Stack


@pytest.fixture(scope="module")
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Open one page for all tests of a file: the modules keep no state outside the objects that a test creates."""
    opened = browser.new_page(base_url=stack.url)
    opened.goto("/healthz")
    yield opened
    opened.close()
