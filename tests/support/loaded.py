"""Commands of manage.py and programs that start at once: in forks of a process that has loaded the project.

Starting Python and loading the project takes more than a second, and tests do it hundreds of times. A fork is a process
of its own, with its own id, connections and exit code.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

PROGRAM = Path(__file__).with_name("loaded_process.py")

# One for the server of a package, and one for that of a test. Each takes some 80 MB.
MOST_LOADED = 2


class LoadedProject:
    """A process that has loaded a project in one environment."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            # A session of its own, so that its children can be killed with it.
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(theirs.fileno())],
                cwd=root,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def run(
        self, arguments: Sequence[str] = (), *, code: str | None = None, entered: str | None = None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of manage.py with `arguments`, or `code` as `python -c` does; `entered` is its input."""
        request = json.dumps({"arguments": arguments, "code": code}).encode() + b"\n"
        with (
            self._lock,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
        ):
            given.write((entered or "").encode())
            given.seek(0)
            self._control.settimeout(timeout)
            try:
                socket.send_fds(self._control, [request], [file.fileno() for file in (given, output, errors)])
                answer = self._control.recv(16)
            except TimeoutError:
                self._kill()
                raise subprocess.TimeoutExpired(["manage.py", *arguments], timeout) from None
            texts = []
            for file in (output, errors):
                file.seek(0)
                texts.append(file.read().decode())
        assert answer, f"the project cannot be loaded; see above. Printed so far: {texts}"
        return subprocess.CompletedProcess(["manage.py", *arguments], int(answer), *texts)

    @property
    def is_alive(self) -> bool:
        """Whether it can run commands."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it, after the command that it runs."""
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        self._control.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


_loaded: OrderedDict[str, LoadedProject] = OrderedDict()


@atexit.register
def end_all() -> None:
    """End all of these processes."""
    while _loaded:
        _loaded.popitem()[1].end()


def loaded_project(root: Path, environment: dict[str, str]) -> LoadedProject:
    """Return the process that has loaded the project in `root` with `environment`; start it at the first call."""
    key = json.dumps([str(root), environment], sort_keys=True)
    found = _loaded.pop(key, None)
    if found is None or not found.is_alive:
        if found is not None:
            found.end()
        found = LoadedProject(root, environment)
    _loaded[key] = found
    while len(_loaded) > MOST_LOADED:
        _loaded.popitem(last=False)[1].end()
    return found
