"""var/stack.json: it tells other commands where the running stack is, and keeps a second stack from starting."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from devtools import paths
from devtools.output import fail
from devtools.valkey import SOCKET_DIRECTORY_PREFIX


def read_stack() -> dict[str, Any] | None:
    """Return the content of var/stack.json, None when no stack runs: a running stack locks the file."""
    with contextlib.suppress(FileNotFoundError), (paths.VAR / "stack.json").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return dict(json.loads(file.read() or "{}"))
    return None


@contextlib.contextmanager
def stack_file() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Hold var/stack.json, or fail when another stack does; yield a function that writes it; remove it at the end."""
    with os.fdopen(os.open(paths.VAR / "stack.json", os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            url = (read_stack() or {}).get("url", "(it is still starting)")
            fail(f"the stack of this checkout runs already: {url}; to start anew press Ctrl-C in its terminal first")
        # A stack that was killed has left its file and its folder.
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            left = Path(json.load(file)["redis_url"].removeprefix("unix://")).parent
            if left.name.startswith(SOCKET_DIRECTORY_PREFIX):
                shutil.rmtree(left, ignore_errors=True)

        def write(stack: Mapping[str, Any]) -> None:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(stack))
            file.flush()

        try:
            write({})
            yield write
        finally:
            (paths.VAR / "stack.json").unlink(missing_ok=True)
