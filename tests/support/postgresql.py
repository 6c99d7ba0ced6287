"""A PostgreSQL server for tests, from the binaries of this machine, in a temporary folder."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stack import free_port


def find_binaries() -> Path | None:
    """Return the folder with initdb and pg_ctl, which Debian keeps out of the PATH, or None."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    found_here = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found_here[-1].parent if found_here else None


@contextmanager
def running_postgresql(binaries: Path) -> Iterator[str]:
    """Run a server on a free port during the block; yield its DATABASE_URL."""
    # PostgreSQL refuses to run as root.
    user = pwd.getpwnam("nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name)
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))

    def run(*arguments: str) -> None:
        # A file instead of a pipe: the server inherits it and would keep a pipe open for ever.
        with (folder / "output").open("wb") as output:
            result = subprocess.run(
                [binaries / arguments[0], *arguments[1:]],
                check=False,
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[] if os.getuid() == 0 else None,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=120,
            )
        assert result.returncode == 0, (folder / "output").read_text(errors="replace")

    password = secrets.token_hex(16)
    (folder / "password").write_text(password)
    for path in (folder, folder / "password"):
        os.chown(path, user.pw_uid, user.pw_gid)
    data = str(folder / "data")
    port = free_port()
    try:
        run("initdb", "-D", data, "-U", "tests", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "-N")
        # -F: tests need not survive a crash of the machine.
        options = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        run("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "log"), "-o", options)
        try:
            yield f"postgres://tests:{password}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-w", "-D", data, "-m", "immediate")
    finally:
        shutil.rmtree(folder)
