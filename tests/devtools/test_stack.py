"""The processes of the stack."""

import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from devtools import children
from devtools.children import Child
from devtools.paths import ROOT
from devtools.stack import Stack
from tests.support.stack import wait_until


def python_child(code: str, **options: Any) -> Child:
    return Child("child", sys.executable, "-c", code, **options)


def test_lines_are_told_behind_the_name(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    child = python_child("print('one'); print(); print('two')")
    stack.start(child)
    wait_until(lambda: child.exit_code() is not None, 60)
    child.reader.join()
    assert capsys.readouterr().out == " child | one\n child | two\n"


def test_the_end_of_the_server_ends_the_stack_with_its_exit_code(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    server = python_child("import sys; sys.exit(7)")
    stack.start(server)
    assert stack.watch(server) == 7
    assert "child : ended by itself (exit code 7)" in capsys.readouterr().out


def test_a_server_that_dies_while_it_starts_is_an_error_with_its_last_words(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="3"):
        stack.start(python_child("print('why'); raise SystemExit(3)", foreign=True), lambda: False)
    assert capsys.readouterr().out == " child | why\n child : ended while it started (exit code 3)\n"


def test_a_dead_child_is_started_again_after_growing_waits(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(children, "RESTART_SECONDS", (0.0, 0.01))
    child = python_child("import sys; sys.exit(5)")
    stack.start(child)

    def three_times() -> bool:
        child.keep_alive(stack.environment)
        return child.failures == 3

    wait_until(three_times, 60)
    assert capsys.readouterr().out.splitlines() == [
        f" child : ended (exit code 5); starts again in {wait} s" for wait in ("0", "0.01", "0.01")
    ]


def test_stopping_goes_from_the_last_to_the_first(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(print('bye'))); print('up'); signal.pause()"
        child = Child(name, sys.executable, "-c", code, stop_seconds=60)
        stack.start(child)
    output = ""

    def both_up() -> bool:
        nonlocal output
        output += capsys.readouterr().out
        return output.count("up") == 2

    wait_until(both_up, 60)
    stack.stop()
    assert capsys.readouterr().out == "second | bye\n first | bye\n"


def test_a_child_that_ignores_sigterm_is_killed_after_its_time(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    child = python_child(
        "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()", stop_seconds=0.1
    )
    stack.start(child)
    wait_until(lambda: "up" in capsys.readouterr().out, 60)
    stack.stop()
    assert child.process.returncode == -signal.SIGKILL


def test_a_second_signal_kills_at_once(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    child = python_child(
        "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()", stop_seconds=60
    )
    stack.start(child)
    wait_until(lambda: "up" in capsys.readouterr().out, 60)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    stack.stop()
    assert child.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_children_of_a_killed_stack_end() -> None:
    code = (
        "import os, sys, time; from devtools.children import Child; child = Child('x', sys.executable, '-c', "
        "'import time; time.sleep(60)');"
        "child.start(os.environ); print(child.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        # If the child has not asked the kernel yet, it sees by itself that its parent has ended.
        parent.kill()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 60)
