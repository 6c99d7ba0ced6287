"""The product as real processes: a server on a free port with its own database, on a given Redis."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import psutil

from tests.support.loaded import loaded_project

ROOT = Path(__file__).resolve().parents[2]


# Below the ports of outgoing connections: the kernel could give a port to one of them before the test listens on it.
PORTS = range(20_000, 32_000)

_given: set[int] = set()


def free_port() -> int:
    """Return a port on which nothing listens and that this process was not given before."""
    # Not the seeded generator: test processes with the same seed would all try the same ports.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
    raise AssertionError(f"none of the ports from {PORTS.start} to {PORTS.stop - 1} is free")


async def eventually(condition: Callable[[], object], seconds: float, *, every_seconds: float = 0.02) -> None:
    """Return as soon as `condition`, which may be a coroutine function, holds; fail if it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (await result if inspect.isawaitable(result := condition()) else result):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        await asyncio.sleep(every_seconds)


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Do the same as `eventually` in synchronous code, where an event loop may run, as in browser tests."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


class Stack:
    """A server process and its environment; `manage` runs commands as in a second terminal."""

    root = ROOT
    """The folder with manage.py."""
    first_page = "/"

    def __init__(self, folder: Path, redis_url: str, *, workers: int = 1, **environment: str) -> None:
        self.folder = folder
        self.workers = workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket_url = f"ws://127.0.0.1:{self.port}/ws/metrics/"
        self.log = folder / "server.log"
        self.server: subprocess.Popen[bytes] | None = None
        # How many files the server may open; None: as many as this process.
        self.files: int | None = None
        self.environment = {
            **os.environ,
            "DEBUG": "1",
            "SECRET_KEY": "only-for-tests-and-long-enough-not-to-be-refused-0123456789",
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
            "REDIS_URL": redis_url,
            **environment,
        }

    def manage(self, *args: str, code: str | None = None, timeout: float = 60.0) -> str:
        """Run a command and return what it printed; `code` is the input of `shell`."""
        done = loaded_project(self.root, self.environment).run(args, entered=code, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_database(self, *, seeded: bool = False) -> None:
        """Make the SQLite database as `migrate` does, and with `seeded` what `seed_defaults` adds.

        It is a copy of one that this process has made, since the two commands take seconds. A stack with other apps or
        another database calls them itself.
        """
        scheme, _, path = self.environment["DATABASE_URL"].partition("://")
        assert scheme == "sqlite", scheme
        shutil.copyfile(_database(seeded=seeded), Path(path[1:]))

    def publish(self, code: str, *, source: str = "producer") -> None:
        """Run `code` in a producer process, where `stream` is a Broadcaster."""
        lines = ["import django; django.setup()", "from metrics_stream.broadcast import Broadcaster"]
        lines += [f"with Broadcaster(source={source!r}) as stream:", *(f"    {line}" for line in code.splitlines())]
        program = "\n".join([*lines, "    assert stream.flush(timeout=10), stream.last_error"])
        done = loaded_project(ROOT, self.environment).run(code=program, timeout=60)
        assert done.returncode == 0, done.stderr

    def get(self, path: str, timeout: float = 10.0) -> Any:
        """Return the JSON at an address of the server."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=timeout) as answer:
            return json.load(answer)

    def worker_pids(self) -> set[int]:
        """Return the ids of the serving processes: the workers if there are several, else the server itself."""
        assert self.server is not None
        process = psutil.Process(self.server.pid)
        if self.workers == 1:
            return {process.pid}
        pids = set()
        for child in process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                # The supervisor has one more child, the resource tracker of multiprocessing.
                if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(child.cmdline()):
                    pids.add(child.pid)
        return pids

    def launch(self) -> None:
        """Start the server without waiting for it."""
        limited = ["sh", "-c", f'ulimit -n {self.files}; exec "$0" "$@"'] if self.files else []
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                [
                    *limited,
                    *(sys.executable, "manage.py", "serve"),
                    *("--port", str(self.port), "--workers", str(self.workers)),
                ],
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.launch()
        assert self.server is not None
        try:
            wait_until(self.answers, 60)
        except AssertionError as error:
            # Workers outlive a killed supervisor for a moment, and could answer on the port of the next test.
            with contextlib.suppress(psutil.NoSuchProcess):
                for pid in self.worker_pids() - {self.server.pid}:
                    psutil.Process(pid).kill()
            self.stop(signal.SIGKILL)
            raise AssertionError(self.log.read_text()) from error

    def answers(self) -> bool:
        """Return whether the server answers; fail when it has ended."""
        assert self.server is not None
        assert self.server.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{self.url}{self.first_page}healthz", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 15.0) -> None:
        """End the server and wait until it is gone."""
        if self.server is not None:
            self.server.send_signal(how)
            self.server.wait(timeout)
            self.server = None


@cache
def _database(*, seeded: bool) -> Path:
    """Make a database with the tables of the project, once in this process."""
    folder = Path(tempfile.mkdtemp(prefix="metrics-stream-database-"))
    atexit.register(shutil.rmtree, folder)
    stack = Stack(folder, "")
    if seeded:
        stack.make_database()
        stack.manage("seed_defaults", "--verbosity", "0")
    else:
        stack.manage("migrate", "--verbosity", "0")
    # The last connection has written everything into the file itself.
    assert not (folder / "db.sqlite3-wal").exists()
    return folder / "db.sqlite3"


class StackWithTokens(Stack):
    """A real server with some tokens in its database, as `MAKE_TOKENS` makes and prints them."""

    MAKE_TOKENS: ClassVar[str]

    def prepare(self):
        self.make_database()
        self.tokens = json.loads(self.manage("shell", "--verbosity", "0", code=self.MAKE_TOKENS).splitlines()[-1])
