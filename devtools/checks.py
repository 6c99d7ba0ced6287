"""`dev.py test` and `dev.py faults`: the checks of CI, and tests that take minutes."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NoReturn

from devtools import paths
from devtools.output import say
from devtools.programs import call
from devtools.virtualenv import set_up

# Finds doubled code of six lines and fifty tokens or more: shorter pieces are mostly imports and the frames of tests.
# .jscpd.json leaves out what is vendored or generated, and templates, whose tags are alike by nature. Version 4.3 asks
# for Node.js 22, which Debian 12 does not have.
JSCPD = "jscpd@4.0.5"
# npm takes from its cache what it can, and does not try for minutes where there is no network.
NPM = {"npm_config_prefer_offline": "true", "npm_config_fetch_retries": "0", "npm_config_fetch_timeout": "60000"}

# xdist would begin with the files that have the most tests, instead of those that take the longest.
IN_ORDER = "--no-loadscope-reorder"


def test(arguments: Sequence[str]) -> int:
    """Run all checks of CI, to the end even when one fails; with arguments run only pytest, with these."""
    set_up(development=True)
    os.chdir(paths.ROOT)
    if arguments:
        os.execv(paths.PYTHON, [paths.PYTHON, "-m", "pytest", *arguments])
    passed: list[str] = []
    failed: list[str] = []
    left_out: list[str] = []
    python = paths.PYTHON
    environment = {**os.environ, **NPM, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    for name, *argv in (
        ("ruff check", python, "-m", "ruff", "check"),
        ("ruff format", python, "-m", "ruff", "format", "--check"),
        ("mypy", python, "-m", "mypy"),
        ("import-linter", python, str(paths.VENV / "bin" / "lint-imports")),
        ("vulture", python, "-m", "vulture"),
        ("jscpd", "npx", "--yes", JSCPD),
        ("djlint format", python, "-m", "djlint", "templates", "project/templates", "--check", "--quiet"),
        ("djlint lint", python, "-m", "djlint", "templates", "project/templates", "--lint", "--quiet"),
        ("manage.py check", python, paths.MANAGE, "check", "--fail-level", "WARNING"),
        ("makemigrations", python, paths.MANAGE, "makemigrations", "--check", "--dry-run"),
        # Last, as people and CI look for its count at the end of the output. Tests of one file share servers. There are
        # two processes more than processors, as many tests wait for servers.
        ("pytest", python, "-m", "pytest", "-n", str(min(os.cpu_count() or 1, 4) + 2), "--dist", "loadfile", IN_ORDER),
    ):
        say(f"\n--- {name}")
        if name == "jscpd" and (reason := jscpd_is_missing()):
            say(f"Left out: {reason}.")
            left_out.append(name)
            continue
        done = subprocess.run(argv, env=environment, check=False)
        (failed if done.returncode else passed).append(name)
    for word, names in (("ok", passed), ("left out", left_out), ("FAILED", failed)):
        if names:
            say(f"{word}: {', '.join(names)}")
    return 1 if failed else 0


def jscpd_is_missing() -> str:
    """Return why jscpd cannot run here, "" when it can."""
    if shutil.which("npx") is None:
        return "npm is not installed"
    done = call(["npx", "--yes", JSCPD, "--version"], {**os.environ, **NPM})
    if done.returncode:
        lines = done.stdout.splitlines()
        reason = next((line for line in lines if line.startswith("npm error")), "no reason given")
        return f"npm cannot get {JSCPD} ({reason})"
    return ""


def faults(arguments: Sequence[str]) -> NoReturn:
    """Become pytest with the tests that take too long for CI."""
    set_up(development=True)
    os.chdir(paths.ROOT)
    os.execv(paths.PYTHON, [paths.PYTHON, "-m", "pytest", "-m", "faults", "tests/faults", *arguments])
