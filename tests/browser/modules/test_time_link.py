"""client/time_link.js: the time that a page shows, in its address."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


LINKS = [
    ("", {"run": None, "atMs": None, "speed": 1, "isPaused": False, "window": None, "zoom": None}),
    (
        "?run=soak&at=2026-01-31T12:00:05.000Z&speed=4&paused=1&window=run",
        {"run": "soak", "atMs": 1769860805000, "speed": 4, "isPaused": True, "window": "run", "zoom": None},
    ),
    (
        "?window=900&from=2026-01-31T12:00:00.000Z&to=2026-01-31T12:01:00.000Z",
        {
            **{"run": None, "atMs": None, "speed": 1, "isPaused": False, "window": 900},
            "zoom": {"fromMs": 1769860800000, "toMs": 1769860860000},
        },
    ),
]


@pytest.mark.parametrize(("query", "link"), LINKS)
def test_link_says_the_same_both_ways(page: Page, query: str, link: dict[str, Any]):
    code = """
      const [query, link] = argument;
      const address = "http://localhost/d/";
      const other = "?source=east&at=2020-01-01T00:00:00Z&from=x&speed=3&paused=1&run=y&to=z&window=5";
      return [module.readTimeLink(new URLSearchParams(query)), module.writeTimeLink(address, link),
              module.writeTimeLink(address + other, link)];
    """
    read, written, rewritten = run(page, "client/time_link", code, [query, link])
    assert read == link
    assert sorted(written.partition("?")[2].split("&")) == sorted(query.removeprefix("?").split("&"))
    assert set(rewritten.partition("?")[2].split("&")) - {""} == {
        "source=east",
        *query.removeprefix("?").split("&"),
    } - {""}


@pytest.mark.parametrize("query", ["?at=soon&speed=1000&window=-5&from=2026-01-31T12:00:00Z&to=2026-01-31T11:00:00Z"])
def test_invalid_link_is_that_of_the_live_page(page: Page, query: str):
    assert (
        run(page, "client/time_link", "return module.readTimeLink(new URLSearchParams(argument))", query) == LINKS[0][1]
    )
