"""`dev.py run`: the whole stack."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devtools import addresses, paths, valkey, virtualenv
from devtools.stack_file import read_stack
from tests.conftest import NO_VALKEY
from tests.support.blocks import copy_project
from tests.support.stack import wait_until

PROJECT_VARIABLES = (
    "DEBUG",
    "SECRET_KEY",
    "HTTPS_ONLY",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "DATABASE_URL",
    "REDIS_URL",
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the checkout without a database, with this checkout's .venv."""
    copy_project(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def bare_environment() -> Iterator[dict[str, str]]:
    """The environment without the project's variables, and with a folder of its own for temporary files."""
    ours = {*PROJECT_VARIABLES, "DJANGO_SETTINGS_MODULE"}
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield {name: value for name, value in os.environ.items() if name not in ours} | {"TMPDIR": folder}


@pytest.mark.valkey
def test_the_stack_runs_is_joined_and_leaves_nothing(
    copy: Path, tmp_path: Path, bare_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if virtualenv.read_stamp().get("valkey") != "installed":
        assert "REQUIRE_VALKEY" not in os.environ
        pytest.skip(NO_VALKEY)
    monkeypatch.setattr(paths, "VAR", copy / "var")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(copy / "dev.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=bare_environment, capture_output=True, text=True, check=False)

    with socket.socket() as busy, (tmp_path / "output").open("w+") as output:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        wanted = busy.getsockname()[1]
        stack = subprocess.Popen(
            [sys.executable, str(copy / "dev.py"), "run", "--port", str(wanted)],
            cwd=tmp_path,
            env=bare_environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:

            def said() -> str:
                output.seek(0)
                return output.read()

            def up() -> bool:
                assert stack.poll() is None, said()
                return "Stop  " in said()

            wait_until(up, 120)
            running = read_stack()
            assert running is not None
            port = int(running["url"].rstrip("/").rpartition(":")[2])
            assert port > wanted
            assert f"Port {wanted} is in use, so this is port {port}." in said()
            assert addresses.healthy("127.0.0.1", port)
            assert running["pid"] == stack.pid

            wait_until(lambda: len(psutil.Process(stack.pid).children()) == 4, 60)
            children = psutil.Process(stack.pid).children(recursive=True)

            password_file = copy / "var" / "admin-password"
            assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
            assert f"login admin, password {password_file.read_text().strip()} " in said()

            second = call("run")
            assert (second.returncode, second.stdout) == (1, "")
            assert f"runs already: {running['url']}" in second.stderr

            joined = call(
                "manage", "shell", "-v", "0", "-c", "from django.conf import settings as s; print(s.REDIS_URL)"
            )
            assert (joined.stdout, joined.stderr) == (f"{running['redis_url']}\n", "")
            socket_path = Path(running["redis_url"].removeprefix("unix://"))
            assert valkey.valkey_answers(socket_path)
            assert socket_path.is_relative_to(bare_environment["TMPDIR"])
            assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700

            stack.terminate()
            assert stack.wait(timeout=60) == 0, said()
            assert said().endswith("Stopping.\n")
            assert " : ended" not in said()
            assert [child for child in children if child.is_running()] == []
            assert os.listdir(bare_environment["TMPDIR"]) == []
            assert not (copy / "var" / "stack.json").exists()
        finally:
            stack.kill()
            stack.wait()
