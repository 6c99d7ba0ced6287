"""client/units.js finds what producers state about fields as core/metrics/annotations.py does."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


def test_what_is_stated_of_an_object_holds_for_its_fields_and_nothing_comes_from_the_language(page: Page):
    code = """
      const stated = {latency: 10, "latency.p99": 1, "http.time": 5};
      const paths = ["latency", "latency.p50", "latency.p99", "http.time", "http", "constructor", "toString.name"];
      return [...paths.map((path) => module.statedFor(stated, path) ?? null), module.statedUnit({}, "constructor")];
    """
    assert run(page, "client/units", code) == [10, 10, 1, 5, None, None, None, ""]
