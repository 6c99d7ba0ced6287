"""`dev.py bench --against`, in a small repository whose benchmarks write prepared figures."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools import comparison, paths
from devtools.paths import ROOT
from tests.support.stack import wait_until

LOCK = "django==5.2 \\\n    --hash=sha256:00\nuvicorn[standard]==0.30 ; sys_platform != 'win32'\n"
# Notes where it was called from and with what; its figure is the content of the file `age`.
BENCHMARKS = """
import json, os, pathlib, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.getcwd(), pathlib.Path("benchmarks/load_client.c").read_text(), sys.argv[3:]]) + "\\n")
row = {"system": "metrics_stream", "frames": 1, "points": 1, "cpu_seconds": 1, "delivered": 1, "expected": 1}
row["p50_ms"] = float(pathlib.Path("age").read_text())
document = {"scenarios": {"fan-out": {"rows": [row], "goals": [], "notes": []}}}
pathlib.Path(sys.argv[2]).write_text(json.dumps(document))
"""
HANGING = """
import os, pathlib, time
pathlib.Path(os.environ["CALLS"]).write_text(os.getcwd())
try:
    time.sleep(60)
finally:
    pathlib.Path(os.environ["CALLS"]).write_text("stopped in order")
"""


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which the benchmarks write; all temporary files go into a folder that the test looks into."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / "calls"


@pytest.fixture
def commit(checkout: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A repository with benchmarks; a call commits what is in it and returns the commit."""
    monkeypatch.setattr(paths, "PYTHON", sys.executable)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.delenv("GIT_DIR", raising=False)
    monkeypatch.chdir(checkout)
    (checkout / "benchmarks").mkdir()
    (checkout / "benchmarks" / "__main__.py").write_text(BENCHMARKS)
    for name in comparison.LOAD_CLIENT:
        (checkout / "benchmarks" / name).write_text("old")
    for name in comparison.LOCKS:
        (checkout / name).write_text(LOCK)
    (checkout / "age").write_text("50")
    git("init", "--quiet")

    def commit_all() -> str:
        git("add", "--all")
        git("commit", "--quiet", "--message", "x")
        return git("rev-parse", "HEAD")

    return commit_all


def test_both_sides_run_in_turn_with_one_load_client_and_leave_nothing(
    checkout: Path, calls: Path, commit: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    old = commit()
    (checkout / "age").write_text("60")
    (checkout / "benchmarks" / "load_client.c").write_text("new")
    figures = checkout / "var" / "figures.json"
    code = comparison.compare(["--against", old[:10], "--rounds", "2", "--json", str(figures), "fan-out"])
    called = [json.loads(line) for line in calls.read_text().splitlines()]
    here, there = [called[0][0], called[2][0]], [called[1][0], called[3][0]]
    assert here == [str(checkout)] * 2
    assert there[0] == there[1] != str(checkout)
    assert {client for _, client, _ in called} == {"new"}
    assert [arguments for *_, arguments in called] == [["--seconds", "10", "fan-out"]] * 4
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split()[-4:] for line in lines if "age p50" in line] == [["50)", "1.200", "outside", "5%"]]
    assert lines[-1] == "Outside 5%: 1 of 3 figures."
    assert len(json.loads(figures.read_text())["rounds"]) == 2
    assert not Path(there[0]).exists()
    assert len(git("worktree", "list").splitlines()) == 1
    assert list((checkout / "temporary").iterdir()) == []


def test_the_three_scenarios_of_the_readme_run_five_times_by_default() -> None:
    options = comparison.parse(["--against", "HEAD"])
    assert (options.names, options.rounds) == (["fan-out", "one-producer", "first-paint"], 5)
    readme = " ".join((ROOT / "benchmarks" / "README.md").read_text().split())
    assert "`fan-out`, `one-producer` and `first-paint`" in readme
    assert "five rounds" in readme


@pytest.mark.parametrize("rounds", ["0", "-1", "x"])
def test_a_bad_number_of_rounds_is_named(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        comparison.parse(["--against", "HEAD", f"--rounds={rounds}"])
    assert rounds in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["no-such-branch", "--all", "HEAD:age", ""])
def test_an_unknown_commit_is_an_error_in_one_line(name: str, commit: Callable[[], str]) -> None:
    commit()
    with pytest.raises(SystemExit) as ended:
        comparison.compare([f"--against={name}"])
    assert str(ended.value) == (
        f"dev.py: --against {name}: unknown commit; allowed: a hash, tag or branch of this checkout"
    )


def test_a_folder_without_a_repository_is_an_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(checkout / "nothing"))
    with pytest.raises(SystemExit, match="--against HEAD: fatal: not a git repository"):
        comparison.compare(["--against", "HEAD"])


def test_a_commit_that_needs_another_version_is_an_error(checkout: Path, commit: Callable[[], str]) -> None:
    old = commit()
    (checkout / "requirements-dev.txt").write_text(LOCK.replace("==5.2", "==5.3") + "vulture==2\n")
    with pytest.raises(SystemExit, match=r"requirements-dev\.txt needs django==5\.2, which this tree's does not have"):
        comparison.compare(["--against", old])


def test_packages_that_only_this_tree_has_do_not_matter(checkout: Path, commit: Callable[[], str]) -> None:
    old = commit()
    (checkout / "requirements-dev.txt").write_text(f"{LOCK}vulture==2\n")
    assert comparison.compare(["--against", old, "--rounds", "1"]) == 0


def test_benchmarks_that_cannot_run_are_named_with_their_last_lines(
    checkout: Path, commit: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "age").unlink()
    old = commit()
    (checkout / "age").write_text("60")
    with pytest.raises(SystemExit, match=f"the benchmarks of {old} could not run \\(exit code 1\\)"):
        comparison.compare(["--against", old])
    assert "FileNotFoundError" in capsys.readouterr().out
    assert len(git("worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_the_benchmarks_in_order_and_removes_the_worktree(
    number: signal.Signals, checkout: Path, calls: Path, commit: Callable[[], str]
) -> None:
    (checkout / "benchmarks" / "__main__.py").write_text(HANGING)
    old = commit()
    code = (
        "import signal, sys; from pathlib import Path; from devtools import bench, commands, paths;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # A background job ignores it.
        f"paths.ROOT, paths.PYTHON, bench.set_up = Path({str(checkout)!r}), sys.executable, lambda **_: None;"
        f"sys.exit(commands.main(['bench', '--against', {old!r}]))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: calls.exists() and calls.read_text(), 60)
            process.send_signal(number)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert calls.read_text() == "stopped in order"
    assert len(git("worktree", "list").splitlines()) == 1
    assert list((checkout / "temporary").iterdir()) == []
