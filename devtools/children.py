"""One process of the stack: its start, its output, its restarts."""

import collections
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

from devtools import paths
from devtools.output import say

RESTART_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # the last one repeats
STEADY_SECONDS = 60.0  # after this long alive, a process starts at the first of RESTART_SECONDS again

# What a program of somebody else gets of the environment, which holds SECRET_KEY and the password of the database.
HARMLESS_VARIABLES = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")

# Replaces itself with the child's program. From then on the kernel ends the child even when dev.py is killed.
DIES_WITH_PARENT = """\
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Child:
    """One process of the stack in a session of its own; each line of its output is printed with its name."""

    def __init__(self, name: str, *argv: str, stop_seconds: float = 5.0, foreign: bool = False) -> None:
        self.name = name
        self.argv = list(argv)
        self.stop_seconds = stop_seconds
        # A program of somebody else: its last lines are printed only when it ends by itself, and it gets no secrets.
        self.foreign = foreign
        self.lines: collections.deque[str] = collections.deque(maxlen=10)
        self.failures = 0
        self.restart_at: float | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the process; only from the main thread, as PDEATHSIG is sent when the starting *thread* ends."""
        guard = (
            [sys.executable, "-I", "-S", "-c", DIES_WITH_PARENT, str(os.getpid())] if sys.platform == "linux" else []
        )
        if self.foreign:
            environment = {name: environment[name] for name in HARMLESS_VARIABLES if name in environment}
        self.started_at, self.restart_at = time.monotonic(), None
        self.process = subprocess.Popen(
            guard + self.argv,
            cwd=paths.ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                if self.foreign:
                    self.lines.append(line.rstrip())
                elif line.strip():
                    say(f"{self.name:>6} | {line.rstrip()}")

    def exit_code(self) -> int | None:
        """Return None while it runs, then its exit code as a shell reports it."""
        code = self.process.poll()
        return 128 - code if code is not None and code < 0 else code

    def tell(self, what: str) -> None:
        """Print what happened to it, after its last lines."""
        self.reader.join(timeout=1)
        while self.lines:
            say(f"{self.name:>6} | {self.lines.popleft()}")
        say(f"{self.name:>6} : {what}")

    def keep_alive(self, environment: Mapping[str, str]) -> None:
        """Start it again when it has ended, after a wait that grows with each end in a row."""
        now, code = time.monotonic(), self.exit_code()
        if code is not None and self.restart_at is None:
            self.failures = 0 if now - self.started_at > STEADY_SECONDS else self.failures
            wait = RESTART_SECONDS[min(self.failures, len(RESTART_SECONDS) - 1)]
            self.failures, self.restart_at = self.failures + 1, now + wait
            self.tell(f"ended (exit code {code}); starts again in {wait:g} s")
        elif self.restart_at is not None and now >= self.restart_at:
            self.start(environment)

    def signal(self, number: int) -> None:
        """Send a signal to it and to all processes that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies.
            os.killpg(self.process.pid, number)
