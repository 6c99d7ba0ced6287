"""What the browser tests stand on: a real Chromium, and a real stack in processes of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.conftest import skip_or_fail

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Stack:
    """The web server of the project as a process, on a database and a Valkey of its own."""

    environment: dict[str, str]
    port: int
    server: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *arguments: str) -> None:
        """Run manage.py to its end."""
        subprocess.run([sys.executable, ROOT / "manage.py", *arguments], env=self.environment, check=True, cwd=ROOT)

    def publish(self, code: str) -> None:
        """Run `code` in a process of its own, as a producer, with `stream` being the helper."""
        lines = ["import django; django.setup()", "from metrics_stream.broadcast import Broadcaster"]
        lines += ["with Broadcaster(source='producer') as stream:", *(f"    {line}" for line in code.splitlines())]
        program = "\n".join([*lines, "    assert stream.flush(timeout=10), stream.last_error"])
        subprocess.run([sys.executable, "-c", program], env=self.environment, check=True, cwd=ROOT, timeout=30)

    def start(self) -> None:
        """Start the server and return when it answers."""
        command = [sys.executable, "-m", "uvicorn", "project.asgi:application", "--ws", "websockets-sansio"]
        command += ["--port", str(self.port), "--lifespan", "off", "--log-level", "warning"]
        self.server = subprocess.Popen(command, env=self.environment, cwd=ROOT)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.server.poll() is None, "the server ended before it answered"
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{self.url}/healthz", timeout=1).close()
                return
            # Nothing tells that a port is open, so this has to ask again.
            time.sleep(0.05)
        pytest.fail("the server did not answer within 30 s")

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self.server is not None:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait(timeout=10)
            self.server = None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the whole project: migrated, with the seeded dashboards."""
    folder = tmp_path_factory.mktemp("stack")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DEBUG": "1",
        "SECRET_KEY": "only-for-tests",
        "ALLOWED_HOSTS": "127.0.0.1",
        "REDIS_URL": valkey_url,
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "PYTHONPATH": str(ROOT),
    }
    running = Stack(environment, free_port())
    running.manage("migrate", "--verbosity", "0")
    running.manage("seed_defaults", "--verbosity", "0")
    running.start()
    yield running
    running.kill()


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
    """Open a page that fails its test on any script error and on any address outside the stack."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=stack.url)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    opened.on("request", lambda request: _note_foreign(request.url, stack.url, problems))
    yield opened
    context.close()
    assert problems == []


def _note_foreign(url: str, own: str, problems: list[str]) -> None:
    if not url.startswith((own, "data:", "blob:", "about:")):
        problems.append(f"request to another host: {url}")
