"""The environment variables of the project."""

import re
import socket
import sys
from pathlib import Path

import pytest

from devtools import paths, variables
from devtools.paths import ROOT


def test_loopback_leaves_the_allowed_hosts_to_django() -> None:
    environment: dict[str, str] = {}
    variables.allow_hosts(environment, "127.0.0.1", [])
    assert environment == {}


def test_allowed_hosts_of_the_user_stay_and_the_probe_is_let_in() -> None:
    environment = {"ALLOWED_HOSTS": "metrics.example.org"}
    variables.allow_hosts(environment, "127.0.0.1", [])
    assert environment["ALLOWED_HOSTS"].startswith("metrics.example.org,localhost,127.0.0.1,")


def test_a_public_address_is_allowed_with_the_names_of_the_machine() -> None:
    environment: dict[str, str] = {}
    variables.allow_hosts(environment, "0.0.0.0", ["192.0.2.7", "2001:db8::7"])
    allowed = environment["ALLOWED_HOSTS"].split(",")
    assert {"127.0.0.1", "192.0.2.7", "[2001:db8::7]", socket.gethostname()} <= set(allowed)


def test_the_example_names_every_variable_that_the_settings_read() -> None:
    settings = (ROOT / "project" / "settings.py").read_text()
    read = re.findall(r"\benv(?:\.\w+)?\(\s*\"([A-Z_]+)\"", settings)
    example = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert example == list(dict.fromkeys(example))
    # Those of METRICS_STREAM are examples of many.
    assert {name for name in example if not name.startswith("METRICS_STREAM_")} == set(read)


def test_env_file_adds_to_the_environment_and_debug_comes_last(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "PYTHON", sys.executable)
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    for name in ("DEBUG", "ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    (checkout / ".env").write_text("LOG_LEVEL=DEBUG\nALLOWED_HOSTS='a.example,b.example'\n")
    environment = variables.project_environment()
    assert environment["LOG_LEVEL"] == "ERROR"
    assert environment["ALLOWED_HOSTS"] == "a.example,b.example"
    assert environment["DEBUG"] == "1"
