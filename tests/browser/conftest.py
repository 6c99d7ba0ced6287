"""Fixtures of the browser tests: a real Chromium, and a real stack in processes of its own."""

import shutil
import signal
from collections.abc import Iterator

import pytest
import redis
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Playwright, expect, sync_playwright

from tests.conftest import skip_or_fail
from tests.support.stack import Stack

# Chromium reports refusals in the console as well, but not all of them.
TELL_REFUSED = """
document.addEventListener("securitypolicyviolation", (event) => console.error(
  `Content Security Policy: ${event.effectiveDirective} refused ${event.blockedURI} ${event.sample}`
  + ` on ${location.pathname} (${event.sourceFile}:${event.lineNumber})`));
"""

# Chromium refuses its own sandbox for root, which is what containers run as.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

# Three times what Playwright waits by itself: a browser, a server and a producer share two processors with other tests.
expect.set_options(timeout=15_000)

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the whole project: migrated, with the seeded dashboards."""
    # A prefix of its own: servers of other test modules use the same Valkey.
    running = Stack(tmp_path_factory.mktemp("stack"), valkey_url, GROUP_PREFIX="browser")
    running.make_database(seeded=True)
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
    running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Open a page that fails its test on any script error, on any address outside the stack, on anything that the
    Content-Security-Policy refuses, and on any dialog.

    The history is emptied first, or the page would show the metrics of the test before.
    """
    forget_history(stack)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=stack.url)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    opened.on("dialog", lambda dialog: _note_dialog(dialog, problems))
    opened.on("console", lambda message: _note_refused(message, problems))
    opened.add_init_script(TELL_REFUSED)
    opened.on("request", lambda request: _note_foreign(request.url, stack.url, problems))
    yield opened
    context.close()
    assert problems == []


@pytest.fixture(scope="session")
def staff(stack: Stack) -> tuple[str, str]:
    """Return user name and password of an administrator."""
    name, password = "staff", "a-password-of-the-tests"
    create = f"get_user_model().objects.create_superuser({name!r}, password={password!r})"
    stack.manage("shell", "-v", "0", code=f"from django.contrib.auth import get_user_model\n{create}")
    return name, password


def sign_in(page: Page, staff: tuple[str, str], *, to: str = "/") -> None:
    """Sign in on the sign-in page, which redirects to `to`."""
    page.goto(f"/login/?next={to}")
    page.get_by_label("User name").fill(staff[0])
    page.get_by_label("Password").fill(staff[1])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**{to}")


def forget_history(stack: Stack) -> None:
    """Empty the history of a running stack, as after the loss of its Redis."""
    with redis.Redis.from_url(stack.environment["REDIS_URL"]) as connection:
        connection.flushdb()


def _note_dialog(dialog: Dialog, problems: list[str]) -> None:
    problems.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def _note_refused(message: ConsoleMessage, problems: list[str]) -> None:
    if "Content Security Policy" in message.text or "Permissions-Policy" in message.text:
        problems.append(message.text)


def _note_foreign(url: str, own: str, problems: list[str]) -> None:
    if not url.startswith((own, "data:", "blob:", "about:")):
        problems.append(f"request to another host: {url}")
