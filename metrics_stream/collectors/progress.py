"""A progress line, which shows at a terminal or in a log that a producer is working."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Protocol

PLAIN_LINE_SECONDS = 10.0
"""How often a line is written where it cannot be rewritten: rarely enough for a log."""


class Output(Protocol):
    """What the line is written to, such as Django's OutputWrapper."""

    def write(self, msg: str = "", style_func: Callable[[str], str] | None = None, ending: str | None = None) -> object:
        """Write `msg` followed by `ending`."""

    def flush(self) -> object:
        """Flush what was written."""

    def isatty(self) -> bool:
        """Return whether the output is a terminal."""


class ProgressLine:
    """One line, rewritten in place on a terminal and repeated every ten seconds elsewhere."""

    def __init__(self, output: Output, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._quiet = quiet
        self._clock = clock
        self._rewrites = output.isatty()
        self._written_at: float | None = None

    def show(self, text: str) -> None:
        """Show `text` as the present state; without a terminal, most calls write nothing."""
        if self._quiet:
            return
        now = self._clock()
        if self._rewrites:
            # One column stays free: some terminals wrap when the last column is written.
            width = max(20, shutil.get_terminal_size().columns - 1)
            self._output.write(f"\r\x1b[2K{text[:width]}", ending="")
        elif self._written_at is None or now - self._written_at >= PLAIN_LINE_SECONDS:
            self._output.write(text, ending="\n")
        else:
            return
        self._written_at = now
        self._output.flush()

    def close(self, text: str) -> None:
        """Write `text` as the last line."""
        if self._quiet:
            return
        start = "\r\x1b[2K" if self._rewrites and self._written_at is not None else ""
        self._output.write(f"{start}{text}", ending="\n")
        self._output.flush()


def clock_text(seconds: float) -> str:
    """Return `seconds` as on a stopwatch: 0:07, 12:30, 1:00:05."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Stream(Protocol):
    """The part of a Broadcaster that the progress line shows."""

    @property
    def published(self) -> int:
        """Return the number of metrics that were published."""

    @property
    def dropped(self) -> int:
        """Return the number of metrics that were dropped because nothing could be sent for too long."""

    @property
    def last_error(self) -> str | None:
        """Return why nothing can be sent at the moment."""


def stream_text(stream: Stream) -> str:
    """Return the state of publishing in words."""
    problem = f", not delivering: {stream.last_error}" if stream.last_error else ""
    return f"{stream.published:,} metrics published, {stream.dropped:,} dropped{problem}"
