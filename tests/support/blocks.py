"""Run the code blocks of a document in order, as a reader would: in a copy of the project, beside a real stack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.sync.client import ClientConnection, connect

from devtools import paths, virtualenv
from tests.support.documents import FENCE, ROOT
from tests.support.stack import free_port, wait_until

ADDRESS = "127.0.0.1:8000"
"""The address of the server in every document."""

PORTAL = "127.0.0.1:9000"
"""The address of a reader's own page in the README."""


@dataclass(frozen=True)
class Block:
    """A code block of a page, with its language and its line."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, from top to bottom."""
    text = page.read_text()
    found = FENCE.finditer(text)
    return [Block(page.name, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


class Listener:
    """A client in a thread that keeps every metric of a server."""

    def __init__(self, socket: ClientConnection) -> None:
        self.metrics: list[dict[str, Any]] = []
        socket.send('{"type": "subscribe"}')
        socket.send('{"type": "set_update_interval", "interval_seconds": 0.1}')
        self._thread = threading.Thread(target=self._listen, args=(socket,))
        self._thread.start()

    def _listen(self, socket: ClientConnection) -> None:
        for text in socket:  # ends when the socket is closed
            frame = json.loads(text)
            if frame["type"] == "metric_update":
                self.metrics.append(frame["data"])
            elif frame["type"] == "metric_batch":
                self.metrics += frame["data"]

    def join(self) -> None:
        """Wait for the end, after the socket was closed."""
        self._thread.join()

    def hears(self, metric_type: str, source: str, **data: Any) -> None:
        """Wait until a metric has come whose data, or whose only agent, has these values."""

        def came() -> bool:
            return any(
                (metric["metric_type"], metric["source"]) == (metric_type, source)
                and data.items() <= _only(metric["data"]).items()
                for metric in list(self.metrics)
            )

        wait_until(came, 10)


def _only(data: Any) -> dict[str, Any]:
    """Return the values of a metric that can be compared."""
    entry = data[0] if isinstance(data, list) else data
    return {key: value for key, value in entry.items() if not isinstance(value, dict | list)}


class Workshop:
    """A copy of the project with the stack of `dev.py run`, and the shell of a reader, which remembers what it is told.

    Blocks name the port 8000 and Python as `python3`; here they get the port of this stack, and the Python of .venv.
    """

    listener: Listener
    """What the viewers of the stack get while a page is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "project"
        self.port, self.portal_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket_url = f"ws://127.0.0.1:{self.port}/ws/metrics/"
        (folder / "bin").mkdir()
        copy_project(self.root)
        self.environment: dict[str, str] = {}
        self.forget()

    def forget(self) -> None:
        """Begin a new terminal: nothing is exported."""
        (self.folder / "functions").unlink(missing_ok=True)
        path = f"{self.folder / 'bin'}:{paths.VENV / 'bin'}:{os.environ['PATH']}"
        kept = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
        self.environment = {**kept, "PATH": path}

    def own(self, code: str) -> str:
        """Return code with the addresses of this workshop."""
        return code.replace(ADDRESS, f"127.0.0.1:{self.port}").replace(PORTAL.partition(":")[2], str(self.portal_port))

    @contextmanager
    def stack(self, command: str) -> Iterator[None]:
        """Run `dev.py run`, as a block says it, during the block."""
        assert "dev.py run" in command
        log = self.folder / "stack.log"
        with log.open("w") as output:
            line = f"exec env {self.own(command).strip()} --port {self.port}"
            running = subprocess.Popen(
                ["bash", "-c", line], cwd=self.root, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )
            try:
                wait_until(lambda: running.poll() is not None or "Stop  " in log.read_text(), 120)
                assert running.poll() is None, log.read_text()
                yield
            finally:
                running.terminate()
                running.wait(30)

    def shell(self, code: str) -> str:
        """Run a block in bash, in the project's folder; its exports and functions stay. Return what it printed."""
        functions, variables = self.folder / "functions", self.folder / "variables"
        before = f"source {functions}\n" if functions.exists() else ""
        after = f"\ndeclare -fp > {functions}\nenv -0 > {variables}\n"
        done = self._run("bash", "-euo", "pipefail", "-c", before + self.own(code) + after)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        entries = variables.read_text().split("\0")
        self.environment = dict(entry.split("=", 1) for entry in entries if entry)
        return done.stdout

    def python(self, code: str) -> str:
        """Run a program, which has the exported variables, and return what it printed."""
        return self.call("python3", "-c", self.own(code))

    def paste(self, code: str) -> str:
        """Run code in `dev.py manage shell`."""
        return self.call("python3", "dev.py", "manage", "shell", "-v", "0", "-c", self.own(code))

    def call(self, *argv: str) -> str:
        """Run a program in the project's folder, and return what it printed."""
        done = self._run(*argv)
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start a block that goes on until it is stopped."""
        argv = ["bash", "-c", f"exec {self.own(code).strip()}"]
        return subprocess.Popen(argv, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, text=True)

    def _run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def program(self, name: str, text: str) -> None:
        """Put a program into the PATH, in place of one that is not installed."""
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)


def copy_project(target: Path) -> None:
    """Copy the checkout, without a database, with this checkout's .venv; skip unless dev.py has made that.

    Another .venv would be changed: dev.py installs what is missing.
    """
    stamp = virtualenv.read_stamp()
    names = ("requirements.txt", "requirements-valkey.txt")
    if any(stamp.get(name) != virtualenv.fingerprint(ROOT / name) for name in names):
        pytest.skip("needs the .venv that dev.py makes: python3 dev.py test")
    ignored = shutil.ignore_patterns(".venv", ".git", "var", ".env", "tests", "*_cache", "__pycache__", ".hypothesis")
    shutil.copytree(ROOT, target, ignore=ignored)
    (target / ".venv").symlink_to(paths.VENV)


class Known(NamedTuple):
    """What is known of a block: words that occur in it, and the function that tests it."""

    words: str
    step: Callable[[Any, Block], None]


def matched(page: Path, known: list[Known]) -> list[tuple[Block, Known]]:
    """Return the blocks of a page with what is known of each; fail for a block that no test knows."""
    blocks = blocks_of(page)
    for block, each in zip(blocks, known, strict=False):
        assert each.words in block.code, f"{block} has not the words {each.words!r}, which a test expects there"
    assert len(blocks) <= len(known), f"no test knows the block {blocks[len(known)]}; add it to tests/docs/"
    assert len(blocks) == len(known), f"{page.name} has no block with {known[len(blocks)].words!r} any more"
    return list(zip(blocks, known, strict=True))


def ask_all(url: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send messages over one WebSocket, each when the one before was answered; return the replies."""
    replies = []
    with connect(url) as socket:
        for number, message in enumerate(messages):
            socket.send(json.dumps({**message, "ref": number}))
            while (reply := json.loads(socket.recv(timeout=10))).get("ref") != number:
                pass
            replies.append(reply)
    return replies
