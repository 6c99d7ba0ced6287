"""The environment variables of the project's processes."""

import json
import socket
from collections.abc import Sequence

from devtools import paths
from devtools.addresses import bracketed
from devtools.output import fail
from devtools.programs import ask


def project_environment() -> dict[str, str]:
    """Return this process's environment, then what .env adds, then DEBUG=1."""
    code = (
        "import json, os, pathlib, sys, environ; path = pathlib.Path(sys.argv[1]);"
        "path.exists() and environ.Env.read_env(path); print(json.dumps(dict(os.environ)))"
    )
    answer = ask(code, str(paths.ROOT / ".env"))
    if answer is None:
        fail("cannot read .env; compare it with .env.example")
    return {"DEBUG": "1", **json.loads(answer)}


def allow_hosts(environment: dict[str, str], host: str, public: Sequence[str]) -> None:
    """Add every name of the server to ALLOWED_HOSTS; on loopback alone, Django's defaults suffice when it is unset."""
    if public or environment.get("ALLOWED_HOSTS"):
        machine = socket.gethostname()
        names = ["localhost", "127.0.0.1", "[::1]", host, machine, machine.split(".")[0], *map(bracketed, public)]
        named = [name for name in environment.get("ALLOWED_HOSTS", "").split(",") if name]
        environment["ALLOWED_HOSTS"] = ",".join(dict.fromkeys(named + names))
