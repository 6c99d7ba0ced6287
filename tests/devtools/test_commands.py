"""The command line of dev.py."""

from pathlib import Path

import pytest

from devtools import commands


def test_run_has_defaults_for_one_machine() -> None:
    assert vars(commands.parse(["run"])) == {"command": "run", "host": "127.0.0.1", "port": 8000, "demo": True}


def test_run_takes_host_port_and_no_demo() -> None:
    options = commands.parse(["run", "--host", "::1", "--port", "0", "--no-demo"])
    assert vars(options) == {"command": "run", "host": "::1", "port": 0, "demo": False}


@pytest.mark.parametrize("command", ["manage", "test", "faults", "bench", "lock", "audit", "sbom"])
@pytest.mark.parametrize("arguments", [[], ["shell", "-c", "print(1)", "--", "-x"]])
def test_arguments_of_the_others_are_passed_on_untouched(command: str, arguments: list[str]) -> None:
    assert vars(commands.parse([command, *arguments])) == {"command": command, "arguments": arguments}


HELP = [*(f"{command} {option}" for command in ["run", *commands.FORWARDED] for option in ("--help", "-h"))]


@pytest.mark.parametrize("line", [*HELP, "lock --upgrade --help", "test tests/hub --help", "bench fanout -h", "--help"])
def test_help_prints_help_and_does_nothing(
    line: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "FORWARDED", dict.fromkeys(commands.FORWARDED, pytest.fail))
    monkeypatch.setattr(commands, "run", pytest.fail)
    before = sorted(checkout.rglob("*"))
    with pytest.raises(SystemExit, match="0"):
        commands.main(line.split())
    command = line.split(maxsplit=1)[0].removeprefix("--help")
    assert capsys.readouterr().out.startswith(f"usage: dev.py {command}")
    assert sorted(checkout.rglob("*")) == before


def test_commands_of_manage_py_have_help_of_their_own() -> None:
    assert commands.parse(["manage", "serve", "--help"]).arguments == ["serve", "--help"]
    assert set(commands.FORWARDED_HELP) == set(commands.FORWARDED)


@pytest.mark.parametrize("port", ["x", "-1", "65536", "8000.5", ""])
def test_a_bad_port_is_named(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        commands.parse(["run", f"--port={port}"])
    assert f"{port!r} is no port" in capsys.readouterr().err
