"""What the browser tests stand on: a real Chromium, and a real stack in processes of its own."""

import shutil
import signal
from collections.abc import Iterator

import pytest
import redis
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.conftest import skip_or_fail
from tests.stack import Stack

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the whole project: migrated, with the seeded dashboards."""
    running = Stack(tmp_path_factory.mktemp("stack"), valkey_url)
    running.manage("migrate", "--verbosity", "0")
    running.manage("seed_defaults", "--verbosity", "0")
    running.start()
    yield running
    running.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium, or skip."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        skip_or_fail("REQUIRE_BROWSER", "there is no Chromium; install it with: apt install chromium")
    return path or ""


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Run Playwright for one module; its event loop must not outlive the tests that use it."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright, chromium: str) -> Iterator[Browser]:
    """Start the browser."""
    # Chromium refuses its own sandbox for root, which is what containers run as.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    running = playwright.chromium.launch(executable_path=chromium, args=arguments)
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Open a page that fails its test on any script error and on any address outside the stack.

    The history is empty then: what the test before published would be shown at once.
    """
    forget_history(stack)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=stack.url)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    opened.on("request", lambda request: _note_foreign(request.url, stack.url, problems))
    yield opened
    context.close()
    assert problems == []


def forget_history(stack: Stack) -> None:
    """Empty the history of a running stack, as when its Redis was lost."""
    with redis.Redis.from_url(stack.environment["REDIS_URL"]) as connection:
        connection.flushdb()


def _note_foreign(url: str, own: str, problems: list[str]) -> None:
    if not url.startswith((own, "data:", "blob:", "about:")):
        problems.append(f"request to another host: {url}")
