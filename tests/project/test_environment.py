"""Settings from the environment and from the file of this installation."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from project.environment import StrictEnv
from tests.support.stack import ROOT

SHOW = "import project.settings as s; print(s.METRICS_STREAM['MAX_CLIENTS'], s.TIME_ZONE, getattr(s, 'NEW', None))"


def load(**variables: str) -> subprocess.CompletedProcess[str]:
    """Load the project's settings in a process of its own, and show some."""
    environment = {**os.environ, "DEBUG": "1", "SECRET_KEY": "x", "METRICS_STREAM_MAX_CLIENTS": "7", **variables}
    command = [sys.executable, "-c", SHOW]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("on", True), ("No", False), ("0", False), ("", None)])
def test_a_boolean_is_one_of_the_usual_words(monkeypatch, text, value):
    monkeypatch.setenv("HTTPS_ONLY", text)
    assert StrictEnv().bool("HTTPS_ONLY", default=None) is value


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("bool", "ja", "SETTING=ja: allowed: 1 or 0, true or false, yes or no, on or off"),
        ("int", "five", "SETTING=five: allowed: a whole number, 0 or above 0"),
        ("int", "-5", "SETTING=-5: allowed: a whole number"),
    ],
)
def test_another_value_is_named_with_what_is_allowed(monkeypatch, kind, text, words):
    monkeypatch.setenv("SETTING", text)
    with pytest.raises(ImproperlyConfigured, match=words):
        getattr(StrictEnv(), kind)("SETTING", default=1)


def test_a_local_file_changes_and_adds_settings(tmp_path):
    path = tmp_path / "local.py"
    path.write_text(
        'METRICS_STREAM["MAX_CLIENTS"] += 1\nTIME_ZONE = "Europe/Berlin"\nNEW = BASE_DIR.name\nhidden = 1\n'
    )
    assert load().stdout == "7 UTC None\n"
    assert load(LOCAL_SETTINGS=str(path)).stdout == f"8 Europe/Berlin {ROOT.name}\n"


def test_a_local_file_that_is_missing_or_wrong_stops_every_command(tmp_path):
    path = tmp_path / "local.py"
    assert f"LOCAL_SETTINGS={path}: there is no such file" in load(LOCAL_SETTINGS=str(path)).stderr
    path.write_text("TIME_ZONE = ")
    assert "local.py" in load(LOCAL_SETTINGS=str(path)).stderr
    assert "METRICS_STREAM_MAX_CLIENTS=many: allowed: a whole number" in load(METRICS_STREAM_MAX_CLIENTS="many").stderr
