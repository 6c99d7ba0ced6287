"""`dev.py lock`: requirements*.in compiled into the locks."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from devtools import paths
from devtools.output import fail, say
from devtools.programs import call
from devtools.virtualenv import pip_install, set_up


def lock(arguments: Sequence[str]) -> int:
    """Compile requirements*.in with uv; locked versions stay unless `arguments` has --upgrade."""
    uv = [shutil.which("uv") or ""]
    if not uv[0]:
        set_up()
        uv = [paths.PYTHON, "-m", "uv"]
        if call([*uv, "--version"]).returncode and pip_install("uv"):
            fail("uv has no package for this platform; install it by hand: https://docs.astral.sh/uv/")
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    options += ["--custom-compile-command", "python3 dev.py lock", *arguments]
    os.chdir(paths.ROOT)
    for name in ("requirements", "requirements-dev", "requirements-valkey", "requirements-audit"):
        constraints = ["-c", "requirements.txt"] if name == "requirements-dev" else []
        argv = [*uv, "pip", "compile", f"{name}.in", "-o", f"{name}.txt", *constraints, *options]
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            fail(f"compiling {name}.in failed (uv's output is above)")
        say(f"{name}.txt is up to date.")
    return 0
