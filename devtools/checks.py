"""`dev.py test` and `dev.py faults`: the checks of CI, and tests that take minutes."""

import os
import subprocess
from collections.abc import Sequence
from typing import NoReturn

from devtools import paths
from devtools.output import say
from devtools.virtualenv import set_up


def test(arguments: Sequence[str]) -> int:
    """Run all checks of CI, to the end even when one fails; with arguments run only pytest, with these."""
    set_up(development=True)
    os.chdir(paths.ROOT)
    if arguments:
        os.execv(paths.PYTHON, [paths.PYTHON, "-m", "pytest", *arguments])
    passed: list[str] = []
    failed: list[str] = []
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    for name, *argv in (
        ("ruff check", "-m", "ruff", "check"),
        ("ruff format", "-m", "ruff", "format", "--check"),
        ("mypy", "-m", "mypy"),
        ("import-linter", str(paths.VENV / "bin" / "lint-imports")),
        ("djlint format", "-m", "djlint", "templates", "--check", "--quiet"),
        ("djlint lint", "-m", "djlint", "templates", "--lint", "--quiet"),
        ("manage.py check", paths.MANAGE, "check", "--fail-level", "WARNING"),
        ("makemigrations", paths.MANAGE, "makemigrations", "--check", "--dry-run"),
        # Last, as people and CI look for its count at the end of the output. Tests of one file share servers.
        ("pytest", "-m", "pytest", "-n", "logical", "--maxprocesses", "4", "--dist", "loadfile"),
    ):
        say(f"\n--- {name}")
        done = subprocess.run([paths.PYTHON, *argv], env=environment, check=False)
        (failed if done.returncode else passed).append(name)
    say(f"ok: {', '.join(passed)}" + (f"\nFAILED: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def faults(arguments: Sequence[str]) -> NoReturn:
    """Become pytest with the tests that take too long for CI."""
    set_up(development=True)
    os.chdir(paths.ROOT)
    os.execv(paths.PYTHON, [paths.PYTHON, "-m", "pytest", "-m", "faults", "tests/faults", *arguments])
