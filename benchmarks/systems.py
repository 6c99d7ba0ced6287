"""The systems to measure: each starts on free ports, says how clients connect, and publishes.

This module has what they share; metrics_stream is in streams.py, the peers are in peers.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.load import BROWSER_OFFER, Target
from benchmarks.native import BenchError
from benchmarks.processes import Program, end
from tests.support.stack import ROOT, free_port

MODULE_PATH = {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load of one measurement: the clients, the metrics and the delivery."""

    clients: int
    rate: float
    seconds: float
    interval_seconds: float | None = 0.1
    batch_size: int | None = 1_000
    deflate: bool = True
    kind: str = "system"
    filters: Callable[[int], dict[str, Any]] | None = None
    subscribed: bool = True
    stalled: int = 0
    copies: float = 1.0
    """How many points each client gets of each metric."""

    @property
    def expected(self) -> int:
        """The number of points that all healthy clients together must get."""
        return round(self.clients * self.rate * self.seconds * self.copies)


class Producer:
    """The process that publishes; see producer.py."""

    def __init__(self, transport: str, kind: str, address: str = "", environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.producer", transport, kind, address],
            cwd=ROOT,
            env={**(environment or os.environ), **MODULE_PATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchError("the producer ended; its words are above")
        return json.loads(line)  # type: ignore[no-any-return]

    def publish(self, rate: float, count: int) -> dict[str, Any]:
        """Publish `count` metrics at `rate` per second; return the producer's report at the end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"publish {rate} {count}\n")
        self.process.stdin.flush()
        return self._read()

    def stop(self) -> None:
        """Stop the process."""
        end(self.process)


class System:
    """One server. The order of calls is `start`, connect to `target`, `publish`, `stop`."""

    name = ""
    transport = ""
    has_points = True

    def __init__(self, folder: Path, load: Load) -> None:
        self.folder = folder
        self.load = load
        self.port = free_port()
        self.feed_port = free_port()
        self.program: Program | None = None
        self.producer: Producer | None = None

    @classmethod
    def make(cls, folder: Path, load: Load, redis_url: Callable[[], str]) -> Self:
        """Return a system; the first call of `redis_url` starts a Valkey."""
        del redis_url
        return cls(folder, load)

    @classmethod
    def missing(cls) -> str | None:
        """Return what must be installed first, or None."""
        return None

    @property
    def pid(self) -> int:
        """The process that is measured, with its descendants."""
        assert self.program is not None
        return self.program.process.pid

    def run(self, *argv: str, environment: dict[str, str] | None = None) -> None:
        """Start the server's program."""
        self.program = Program(
            argv,
            log=self.folder / f"server-{self.port}.log",
            environment={**(environment or os.environ), **MODULE_PATH},
            cwd=ROOT,
        )
        self.program.wait_for_port(self.port)

    def start(self) -> None:
        """Start the server and the producer."""
        raise NotImplementedError

    def target(self) -> Target:
        """Return how clients connect."""
        return Target(port=self.port, offer=BROWSER_OFFER if self.load.deflate else None)

    def publish(self, rate: float, count: int) -> dict[str, Any]:
        """Publish `count` metrics at `rate` per second; return the producer's report at the end."""
        assert self.producer is not None
        return self.producer.publish(rate, count)

    def stop(self) -> None:
        """Stop the producer and the server."""
        if self.producer is not None:
            self.producer.stop()
        if self.program is not None:
            self.program.stop()


class InProcess(System):
    """An application that publishes to itself over the in-memory channel layer; see applications.py."""

    application = ""
    server = "uvicorn"

    def start(self) -> None:
        """Start the server."""
        environment = {**os.environ, "DEBUG": "1", "SECRET_KEY": "only-for-benchmarks", "REDIS_URL": ""}
        environment["DATABASE_URL"] = f"sqlite:///{self.folder / 'db.sqlite3'}"
        target = f"benchmarks.applications:{self.application}"
        if self.server == "daphne":
            argv = ["daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(self.port), target]
        else:
            argv = ["uvicorn", "--port", str(self.port), "--log-level", "warning", "--ws", self.protocol, target]
        self.run(sys.executable, "-m", *argv, environment=environment)

    protocol = "websockets-sansio"

    def publish(self, rate: float, count: int) -> dict[str, Any]:
        """Publish `count` metrics at `rate` per second; return the producer's report at the end."""
        url = f"http://127.0.0.1:{self.port}/publish?rate={rate}&count={count}&kind={self.load.kind}"
        with urllib.request.urlopen(url, timeout=10 * count / rate + 60) as answer:
            return json.load(answer)  # type: ignore[no-any-return]
