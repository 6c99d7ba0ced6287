"""The locks and the command that compiles them."""

import os
import re
from pathlib import Path

import pytest

from devtools.lock import lock
from devtools.paths import ROOT


def test_the_development_lock_has_every_version_of_the_other() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.\[\]-]+==\S+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.txt") - pins("requirements-dev.txt") == set()


@pytest.mark.parametrize("name", [f"requirements{kind}.txt" for kind in ("", "-dev", "-valkey", "-audit")])
def test_a_lock_names_the_command_that_makes_it_and_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    assert text.splitlines()[1] == "#    python3 dev.py lock"
    assert "://" not in text


def test_lock_compiles_each_with_the_uv_on_the_path(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uv = checkout / "uv"
    uv.write_text('#!/bin/sh\necho "$@" >>calls\n')
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(checkout), prepend=os.pathsep)
    monkeypatch.chdir(checkout)
    assert lock(["--upgrade"]) == 0
    calls = (checkout / "calls").read_text().splitlines()
    assert [call.split()[:5] for call in calls] == [
        ["pip", "compile", f"{name}.in", "-o", f"{name}.txt"]
        for name in ("requirements", "requirements-dev", "requirements-valkey", "requirements-audit")
    ]
    assert [("-c requirements.txt" in call, "--upgrade" in call) for call in calls] == [
        (False, True),
        (True, True),
        (False, True),
        (False, True),
    ]
