"""`dev.py test`."""

import os
import subprocess
from pathlib import Path

import pytest

from devtools import checks, paths
from devtools.paths import ROOT


def test_everything_runs_even_when_something_fails_and_pytest_runs_last(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    python = checkout / "python"
    python.write_text('#!/bin/sh\necho "ran $2"\ntest "$2" != mypy\n')
    python.chmod(0o755)
    monkeypatch.setattr(paths, "PYTHON", str(python))
    monkeypatch.setattr(checks, "set_up", lambda *, development: None)
    monkeypatch.chdir(checkout)
    assert checks.test([]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert sum(line.startswith("ran ") for line in lines) == 9
    assert lines[-3] == "ran pytest"
    assert lines[-2].startswith("ok: ruff check, ruff format, import-linter")
    assert lines[-1] == "FAILED: mypy"


def test_continuous_integration_calls_it() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "REQUIRE_BROWSER=1 REQUIRE_VALKEY=1" in script.read_text()
