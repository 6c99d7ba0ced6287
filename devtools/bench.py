"""`dev.py bench`: the benchmarks."""

import os
from collections.abc import Sequence
from typing import NoReturn

from devtools import paths
from devtools.virtualenv import set_up


def bench(arguments: Sequence[str]) -> NoReturn:
    """Become the benchmarks."""
    set_up(development=True)
    os.chdir(paths.ROOT)
    os.execv(paths.PYTHON, [paths.PYTHON, "-m", "benchmarks", *arguments])
