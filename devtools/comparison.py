"""`dev.py bench --against COMMIT`: this tree and a commit measured in turn on the same machine."""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from devtools import paths
from devtools.figures import compared, report, undelivered
from devtools.output import fail, last_lines, say
from devtools.programs import call

SCENARIOS = ("fan-out", "one-producer", "first-paint")
ROUNDS = 5
LOCKS = ("requirements-dev.txt", "requirements-valkey.txt")
# Both sides must be loaded by the same program, so the worktree of the commit gets the C sources of this tree.
LOAD_CLIENT = ("load_client.c", "points.h", "floor.c")
STOP_SECONDS = 30.0  # for benchmarks that were interrupted: they stop servers, a Valkey and a browser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a comparison."""
    parser = argparse.ArgumentParser(
        prog="dev.py bench", description="Compare this tree with a commit; see benchmarks/README.md."
    )
    parser.add_argument("--against", required=True, metavar="COMMIT", help="what to compare this tree with")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"scenarios, by default {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each side is measured (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each system is measured (%(default)g)")
    parser.add_argument("--clients", type=int, help="another number of clients, for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of all rounds to a file, too")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: allowed: 1 or more")
    options.names = options.names or list(SCENARIOS)
    return options


def compare(arguments: Sequence[str]) -> int:
    """Measure both trees in turn and print each figure's medians and ratio; return 0 when all could run."""
    options = parse(arguments)
    commit = find_commit(options.against)
    require_same_packages(commit, options.against)
    settings = ["--seconds", f"{options.seconds:g}", *options.names]
    if options.clients is not None:
        settings = ["--clients", str(options.clients), *settings]
    runs: dict[str, list[dict[str, Any]]] = {"this tree": [], options.against: []}
    with worktree(commit) as folder:
        say(f"This tree against {options.against}: {', '.join(options.names)}; rounds: {options.rounds}.")
        for number in range(1, options.rounds + 1):
            for (side, documents), tree in zip(runs.items(), (paths.ROOT, folder), strict=True):
                started_at = time.monotonic()
                documents.append(measure(tree, settings, side))
                say(f"  round {number}, {side}: {time.monotonic() - started_at:.0f} s")
    here, there = runs.values()
    say(report(compared(here, there), options.against))
    for line in undelivered(here, there, options.against):
        say(line)
    if options.json:
        document = {"against": commit, "rounds": [*zip(here, there, strict=True)]}
        options.json.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    return 0


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in this checkout, without its hooks."""
    program = shutil.which("git")
    if program is None:
        fail("--against needs git; install it (Debian: apt install git)")
    return call([program, "-c", "core.hooksPath=/dev/null", *arguments])


def find_commit(name: str) -> str:
    """Return the full hash of a commit."""
    # --end-of-options: a name that begins with a dash is a name, too.
    done = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if done.returncode:
        reason = last_lines(done.stdout, 1) or "unknown commit; allowed: a hash, tag or branch of this checkout"
        fail(f"--against {name}: {reason}")
    return done.stdout.strip()


def pins(lock: str) -> set[tuple[str, str]]:
    """Return the packages of a lock with their versions; one package may have two, for two platforms."""
    return set(re.findall(r"^([\w.-]+(?:\[[^]]*\])?)==([^\s;\\]+)", lock, re.MULTILINE))


def require_same_packages(commit: str, name: str) -> None:
    """Fail unless .venv, which has this tree's locks, also has each package of the commit's locks in its version."""
    for lock in LOCKS:
        shown = git("show", f"{commit}:{lock}")
        if shown.returncode:
            fail(f"--against {name}: that commit has no {lock}, so it cannot run in this .venv")
        missing = pins(shown.stdout) - pins((paths.ROOT / lock).read_text())
        if missing:
            packages = ", ".join(f"{package}=={version}" for package, version in sorted(missing))
            fail(
                f"--against {name}: its {lock} needs {packages}, which this tree's does not have; both sides must run "
                "with the same packages"
            )


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder; remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="metrics-stream-bench-") as parent:
        folder = Path(parent) / "tree"
        try:
            done = git("worktree", "add", "--detach", "--quiet", str(folder), commit)
            if done.returncode:
                fail(f"git cannot check out {commit}: {last_lines(done.stdout, 1)}")
            for name in LOAD_CLIENT:
                shutil.copy(paths.ROOT / "benchmarks" / name, folder / "benchmarks")
            if (paths.ROOT / ".env").exists():
                shutil.copy(paths.ROOT / ".env", folder)
            yield folder
        finally:
            git("worktree", "remove", "--force", str(folder))


def measure(tree: Path, arguments: Sequence[str], side: str) -> dict[str, Any]:
    """Run a tree's benchmarks once and return what they write with --json; fail when they cannot run."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("w+", errors="replace") as output:
        figures = Path(folder) / "figures.json"
        # A background job of a script ignores SIGINT, and its children would too; see stop().
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [paths.PYTHON, "-m", "benchmarks", "--json", str(figures), *arguments],
            cwd=tree,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C does not reach its servers before itself
        )
        try:
            signal.signal(signal.SIGINT, previous)
            code = process.wait()
        finally:
            stop(process)
        if code:
            output.seek(0)
            say(last_lines(output.read()))
            fail(f"the benchmarks of {side} could not run (exit code {code}); their last lines are above")
        return dict(json.loads(figures.read_text()))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let benchmarks that still run end what they started; kill them when they take too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
