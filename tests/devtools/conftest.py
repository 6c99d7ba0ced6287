"""A checkout of its own for dev.py, and a stack that leaves nothing behind."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools import paths
from devtools.stack import Stack


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that dev.py takes for its checkout."""
    for name in ("var", ".venv"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "VAR", tmp_path / "var")
    monkeypatch.setattr(paths, "VENV", tmp_path / ".venv")
    return tmp_path


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack whose children and signal handlers are gone afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)  # A background job ignores SIGINT, and a stack then would, too.
    stack = Stack(dict(os.environ))
    yield stack
    stack.stop()
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)
