"""`dev.py bench`: the benchmarks of this tree, or this tree against a commit."""

import os
from collections.abc import Sequence

from devtools import paths
from devtools.comparison import compare
from devtools.virtualenv import set_up


def bench(arguments: Sequence[str]) -> int:
    """Become the benchmarks; with --against compare this tree with a commit and return the exit code."""
    set_up(development=True)
    if not any(argument == "--against" or argument.startswith("--against=") for argument in arguments):
        os.chdir(paths.ROOT)
        os.execv(paths.PYTHON, [paths.PYTHON, "-m", "benchmarks", *arguments])
    return compare(arguments)
