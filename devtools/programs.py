"""Run programs to their end and read their output."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtools import paths


def call(
    argv: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, by default the checkout, to its end; `stdout` has the output of both streams."""
    return subprocess.run(
        argv,
        cwd=folder or paths.ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def ask(code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the last line that Python code prints in .venv, None when it fails."""
    # -I: a redis.py in the folder that dev.py is called from must not hide the package redis.
    done = call([paths.PYTHON, "-I", "-c", code, *arguments], environment)
    return None if done.returncode else (done.stdout.splitlines() or [""])[-1]
