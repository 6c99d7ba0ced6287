"""Processes to measure: their start and end, the processor time and the memory of a process and its descendants."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.native import BenchError

START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05


class Program:
    """A running program with its output in a file; `stop` ends it by its process id."""

    def __init__(
        self, argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                argv, cwd=cwd, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output
            )

    def wait_for_port(self, port: int) -> None:
        """Wait until `port` accepts connections; raise BenchError with the program's output when it ends first."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{self.process.args!r} does not listen:\n{self.log.read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Terminate the program; kill it and its descendants when it does not end in time."""
        end(self.process)


def end(process: subprocess.Popen[Any]) -> None:
    """Terminate a process; after STOP_SECONDS kill it and all its descendants."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
    process.communicate()


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its descendants, user and kernel mode."""
    total = 0.0
    for process in tree(pid):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants."""
    return sum(int(process.memory_info().rss) for process in tree(pid))
