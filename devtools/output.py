"""What dev.py prints."""

import contextlib
import sys
from typing import IO, NoReturn


def fail(message: str) -> NoReturn:
    """End dev.py with one line on stderr and exit code 1."""
    sys.exit(f"dev.py: {message}")


def say(line: str, stream: IO[str] | None = None) -> None:
    """Print a line and flush it; a closed terminal or pipe is no error, as the stack must still stop in order."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=stream or sys.stdout, flush=True)


def last_lines(text: str, count: int = 20) -> str:
    """Return the last lines of a program's output."""
    return "\n".join(text.strip().splitlines()[-count:])
