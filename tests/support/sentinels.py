"""A real primary with a replica and the sentinels that watch them, of Valkey or Redis."""

import contextlib
import subprocess
from pathlib import Path
from typing import Self

import redis

from tests.support.redis_process import RedisProcess, find_server
from tests.support.stack import free_port, wait_until

NAME = "stream"

# So long a primary may be silent before a sentinel calls it down.
DOWN_MILLISECONDS = 500


class Sentinels:
    """A primary, its replica and some sentinels, each on its own port of this machine."""

    def __init__(self, folder: Path, *, count: int = 3, flavour: str = "valkey", password: str = "") -> None:
        folders = [folder / name for name in ("primary", "replica")]
        for one in folders:
            one.mkdir()
        # `primary` and `replica` keep their names after a failover; `primary_port` says which of them it is then.
        self.primary = RedisProcess(folders[0], flavour=flavour, password=password)
        self.replica = RedisProcess(
            folders[1], *("--replicaof", "127.0.0.1", str(self.primary.port)), flavour=flavour, password=password
        )
        self._folder = folder
        self._flavour = flavour
        self._password = password
        self._ports = [free_port() for _ in range(count)]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def addresses(self) -> str:
        """Return the sentinels as REDIS_URL names them."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    @property
    def url(self) -> str:
        """Return the REDIS_URL of the primary that the sentinels name."""
        account = self.primary.url.partition("//")[2].rpartition("@")[0]
        return f"redis+sentinel://{account and account + '@'}{self.addresses}/{NAME}/0"

    @property
    def primary_port(self) -> int:
        """Return the port of the primary that the first sentinel names."""
        return int(self._ask(self._ports[0], "GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def fail_over(self) -> None:
        """Have the sentinels replace a primary that works, as before its maintenance."""
        self._ask(self._ports[0], "FAILOVER", NAME)

    def hold_back_replica(self) -> None:
        """Cut the replica off from the primary, so that it misses what is written from now on."""
        self.primary.command("ACL", "SETUSER", "default", "-psync", "-sync")
        self.primary.command("CLIENT", "KILL", "TYPE", "replica")

    def _start_sentinel(self, port: int) -> None:
        path = self._folder / f"sentinel-{port}.conf"
        lines = [
            f"monitor {NAME} 127.0.0.1 {self.primary.port} {len(self._ports) // 2 + 1}",
            f"down-after-milliseconds {NAME} {DOWN_MILLISECONDS}",
            f"failover-timeout {NAME} 3000",
        ]
        if self._password:
            lines.insert(1, f"auth-pass {NAME} {self._password}")
        path.write_text("".join(f"sentinel {line}\n" for line in lines))
        argv = [find_server(self._flavour), str(path), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
        argv += ["--dir", str(self._folder)]
        self._processes.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def _ask(self, port: int, *args: str) -> list[bytes]:
        with redis.Redis(port=port, socket_timeout=2, retry=None) as client:
            return client.execute_command("SENTINEL", *args)

    def _is_complete(self) -> bool:
        """Whether each sentinel knows the replica and the other sentinels."""
        try:
            return all(
                self._ask(port, "REPLICAS", NAME) and len(self._ask(port, "SENTINELS", NAME)) == len(self._ports) - 1
                for port in self._ports
            )
        except redis.RedisError:
            return False

    def _is_in_step(self) -> bool:
        return self.replica.command("INFO", "replication")["master_link_status"] == "up"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.callback(self.__exit__)
            self.primary.start()
            self.replica.start()
            wait_until(self._is_in_step, 10)
            for port in self._ports:
                self._start_sentinel(port)
            wait_until(self._is_complete, 20)
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait(10)
        for server in (self.primary, self.replica):
            server.__exit__()
