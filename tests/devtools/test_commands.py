"""The command line of dev.py."""

import pytest

from devtools import commands


def test_run_has_defaults_for_one_machine() -> None:
    assert vars(commands.parse(["run"])) == {"command": "run", "host": "127.0.0.1", "port": 8000, "demo": True}


def test_run_takes_host_port_and_no_demo() -> None:
    options = commands.parse(["run", "--host", "::1", "--port", "0", "--no-demo"])
    assert vars(options) == {"command": "run", "host": "::1", "port": 0, "demo": False}


@pytest.mark.parametrize("command", ["manage", "test", "faults", "bench", "lock", "audit", "sbom"])
@pytest.mark.parametrize("arguments", [[], ["--help"], ["shell", "-c", "print(1)", "--", "-x"]])
def test_arguments_of_the_others_are_passed_on_untouched(command: str, arguments: list[str]) -> None:
    assert vars(commands.parse([command, *arguments])) == {"command": command, "arguments": arguments}


@pytest.mark.parametrize("port", ["x", "-1", "65536", "8000.5", ""])
def test_a_bad_port_is_named(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        commands.parse(["run", f"--port={port}"])
    assert f"{port!r} is no port" in capsys.readouterr().err
