"""`dev.py test`."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools import checks, paths
from devtools.paths import ROOT


@pytest.fixture
def programs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A folder of programs, the only ones that `dev.py test` finds; a call writes one."""

    def write(name: str, *lines: str) -> None:
        (checkout / name).write_text("\n".join(["#!/bin/sh", *lines, ""]))
        (checkout / name).chmod(0o755)

    write("python", 'echo "ran $2"', 'test "$2" != mypy')
    write("npx", 'echo "ran $*"')
    monkeypatch.setattr(paths, "PYTHON", str(checkout / "python"))
    monkeypatch.setattr(checks, "set_up", lambda *, development: None)
    monkeypatch.setenv("PATH", str(checkout))
    monkeypatch.chdir(checkout)
    return write


@pytest.mark.usefixtures("programs")
def test_everything_runs_even_when_something_fails_and_pytest_runs_last(capfd: pytest.CaptureFixture[str]) -> None:
    assert checks.test([]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert sum(line.startswith("ran ") for line in lines) == 11
    assert f"ran --yes {checks.JSCPD}" in lines
    assert lines[-3] == "ran pytest"
    assert lines[-2].startswith("ok: ruff check, ruff format, import-linter, vulture, jscpd, ")
    assert lines[-1] == "FAILED: mypy"


def test_doubled_code_is_a_failure(programs: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    programs("python", "true")
    programs("npx", 'test "$3" = --version')
    assert checks.test([]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "FAILED: jscpd"


@pytest.mark.parametrize(
    ("npx", "reason"),
    [
        (
            ["echo npm error code ENOTFOUND; echo more; exit 1"],
            f"npm cannot get {checks.JSCPD} (npm error code ENOTFOUND)",
        ),
        (["exit 1"], f"npm cannot get {checks.JSCPD} (no reason given)"),
        (None, "npm is not installed"),
    ],
)
def test_without_npm_or_its_registry_jscpd_is_left_out(
    npx: list[str] | None,
    reason: str,
    programs: Callable[..., None],
    checkout: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    programs("python", "true")
    programs("npx", *(npx or []))
    if npx is None:
        (checkout / "npx").unlink()
    assert checks.test([]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert f"Left out: {reason}." in lines
    assert lines[-2].startswith("ok: ")
    assert lines[-1] == "left out: jscpd"


def test_continuous_integration_calls_it() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "REQUIRE_BROWSER=1 REQUIRE_VALKEY=1" in script.read_text()
