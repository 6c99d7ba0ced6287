"""Which timestamps of metrics are accepted: none before 2000, and none far ahead of the clock that judges them.

Others are the mistake of a unit (milliseconds, minutes), of an empty field (1970) or of a clock that was never set.
They would stretch the axis of a chart over decades. Smaller errors of clocks are `core/clock_marks.py`'s.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from metrics_stream.core.errors import MetricError
from metrics_stream.core.formatting import quote

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
"""In seconds since 1970. No metric of a running test is older."""

MAX_AHEAD_SECONDS = 86_400.0
"""So much ahead a timestamp may be: a clock with local time instead of UTC is at most 14 h ahead."""


def check_time(seconds: float, now: float, given: Any) -> float:
    """Return the timestamp `seconds`; raise MetricError if it is too early, or too far ahead of `now`.

    Both are in seconds since 1970; `given` is what the producer wrote, for the message.
    """
    if EARLIEST <= seconds <= now + MAX_AHEAD_SECONDS:
        return seconds
    what = quote(given.isoformat() if isinstance(given, datetime) else given)
    if not isinstance(given, str | datetime):
        what += _in_words(seconds)
    if seconds < EARLIEST:
        raise MetricError(f"timestamp is {what}; allowed: 2000-01-01T00:00:00Z or later")
    raise MetricError(f"timestamp is {what}; allowed: at most 24 h ahead of now, which is {_describe(now)} here")


def _in_words(seconds: float) -> str:
    try:
        return f", which is {_describe(seconds)}"
    except (ValueError, OverflowError, OSError):  # no year that a date can have
        return ""


def _describe(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat(timespec='seconds')[:-6]}Z"
