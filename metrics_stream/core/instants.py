"""Read an instant in every form in which programs and people write one; the same at every door.

The helper, HTTP and the socket call `read_instant`, so that one time means the same wherever it comes in.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Real
from typing import Any

ALLOWED_INSTANTS = "a datetime, ISO 8601 such as 2026-01-31T12:00:00Z, or seconds or milliseconds since 1970"
"""What `read_instant` accepts, for error messages."""

# The end of the year 9999, beyond which no datetime exists.
_END_OF_TIME = 253_402_300_800

# From here on a number counts smaller units than seconds: in seconds it would be after the year 5138, and in the next
# smaller unit the same number is in 1973.
_FIRST_MILLISECONDS = 100_000_000_000
_STEP = 1_000

# Eight digits are a date: as seconds they would be in 1970.
_NUMBER = re.compile(r"[+-]?(?!\d{8}\Z)\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ZONE = re.compile(r"\s*(?:z|utc|gmt)\Z", re.IGNORECASE)
_SPACE_BEFORE_OFFSET = re.compile(r"(:\d\d(?:[.,]\d+)?)\s+(?=[+-]\d\d)")


def read_instant(value: Any) -> float:
    """Return what `read_seconds` does; raise ValueError for an instant that is not between 1970 and 9999, too."""
    seconds = read_seconds(value)
    if not 0 <= seconds < _END_OF_TIME:
        raise ValueError(f"{seconds!r} s are not between the years 1970 and 9999")
    return seconds


def read_seconds(value: Any) -> float:
    """Return an instant, however early or late, in seconds since 1970; raise ValueError if it is none.

    Accepts datetimes and dates; ISO 8601, also with a space or in lower case; numbers of seconds, milliseconds,
    microseconds or nanoseconds, which their size tells apart, also as text; and numpy scalars of these. Without a zone
    it is UTC.
    """
    try:
        if isinstance(value, str):
            return _read_text(value.strip())
        if isinstance(value, datetime):
            return (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
        if isinstance(value, Real | Decimal) and not isinstance(value, bool):
            return _in_seconds(value)
        if callable(item := getattr(value, "item", None)):  # other numpy scalars, such as datetime64
            plain = item()
            if isinstance(plain, Real | Decimal | date):
                return read_seconds(plain)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"a {type(value).__name__} is no instant")


def _read_text(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return _in_seconds(Decimal(text))
    instant = datetime.fromisoformat(_SPACE_BEFORE_OFFSET.sub(r"\1", _ZONE.sub("+00:00", text)))
    return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()


def _in_seconds(number: Any) -> float:
    seconds = float(number)
    if not math.isfinite(seconds):
        raise ValueError("it is not finite")
    # One step for milliseconds, two for microseconds, three for nanoseconds.
    divisor = 1
    while seconds / divisor >= _FIRST_MILLISECONDS and divisor < _STEP**3:
        divisor *= _STEP
    if divisor == 1:
        return seconds
    # Divide whole numbers as such: a float has too few digits for nanoseconds.
    whole = int(number)
    return whole / divisor if whole == number else seconds / divisor
