"""The load client: connect, reset, report, close."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.native import BenchError, compiled
from benchmarks.processes import end

BROWSER_OFFER = "permessage-deflate; client_max_window_bits"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where clients connect and which messages they send; load_client.c describes scripts."""

    port: int
    path: str = "/"
    scripts: Sequence[str] = ()
    ready: str | None = None
    offer: str | None = BROWSER_OFFER
    subprotocol: str | None = None
    is_stream: bool = False


@dataclass(kw_only=True)
class Clients:
    """Connected clients; the end of the block closes them."""

    target: Target
    count: int
    stalled: int = 0
    connecting: int = 50
    connected: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        target = self.target
        self._folder = tempfile.TemporaryDirectory()
        argv = [str(compiled("load_client")), "--port", str(target.port), "--path", target.path]
        argv += ["--clients", str(self.count), "--stalled", str(self.stalled), "--connecting", str(self.connecting)]
        if target.scripts:
            script = Path(self._folder.name) / "script"
            script.write_text("".join(f"{line}\n" for line in target.scripts))
            argv += ["--script", str(script)]
        for name, value in (("ready", target.ready), ("deflate", target.offer), ("subprotocol", target.subprotocol)):
            if value is not None:
                argv += [f"--{name}", value]
        if target.is_stream:
            argv += ["--stream"]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.connected = self._read()
        if self.connected["ready"] != self.count:
            self.__exit__(None, None, None)
            raise BenchError(f"{self.connected['ready']} of {self.count} clients got in: {self.connected['closed']}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self._say("close")
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            end(self.process)
        self._folder.cleanup()

    def _say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(self.process.stderr.read().strip() or "the load client ended")
        return json.loads(line)  # type: ignore[no-any-return]

    def report(self) -> dict[str, Any]:
        """Return the counters since the last reset; the names are those in load_client.c."""
        self._say("report")
        return self._read()

    def reset(self) -> None:
        """Set the counters to 0."""
        self._say("reset")

    def drain(self) -> None:
        """Let the stalled clients read."""
        self._say("drain")

    def wait_for(self, name: str, value: int, *, patience: float) -> dict[str, Any]:
        """Return the first report in which `name` is `value` or more, or the one after `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            report = self.report()
            if report[name] >= value or time.monotonic() > deadline:
                return report
            time.sleep(0.05)
