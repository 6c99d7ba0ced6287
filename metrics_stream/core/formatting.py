"""Format numbers with units, durations, instants and quoted values for pages and messages.

Numbers look as `client/format.js` formats them in the browser; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from metrics_stream.core.units import Scale, scale_of

NO_VALUE = "\u2013"
_NO_BREAK = "\u00a0"

# The suffix of a number for these units; any other unit is its own suffix.
_SUFFIXES = {"ratio": "%", "percent": "%", "$": "", "count": "", "multiple": "\u00d7", "score": ""}

_MAGNITUDES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))

# From here on a number is written with its power of ten; the largest float has 309 digits.
_HUGE = 1e15
# So is a number that is smaller than this, but not zero.
_TINY = 1e-4

# The length of a unit in seconds, its name, and from how many seconds on it is used.
_LONG_TIMES = ((86_400, "d", 2 * 86_400), (3_600, "h", 5_995), (60, "min", 0))


def format_number(value: float | None, unit: str = "") -> str:
    """Return a number with its unit, "87.2 %"; `unit` is one of the catalogue, or empty."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    text, suffix = _parts(value, unit)
    if unit == "$":
        # The sign stands before the currency: -$3.20.
        text = f"-${text[1:]}" if text.startswith("-") else f"${text}"
    return f"{text}{_NO_BREAK}{suffix}" if suffix else text


def _parts(value: float, unit: str) -> tuple[str, str]:
    """Return the number and its suffix."""
    suffix = _SUFFIXES.get(unit, unit)
    size = abs(value)
    match unit:
        case "ratio" | "percent":
            return _percent(value * 100 if unit == "ratio" else value), suffix
        case "ms":
            return _milliseconds(value)
        case "s" if size >= 99.95:
            factor, name, _ = next(entry for entry in _LONG_TIMES if size >= entry[2])
            return _fixed(value / factor, 0 if size >= factor * 99.95 else 1), name
        case "count" if float(value).is_integer() and size < 1_000_000:
            return _fixed(value, 0), suffix
        case "$" if 0.995 <= size < 999.5:
            return _fixed(value, 2), suffix
    scale = scale_of(size, unit)
    return (_compact(value), suffix) if scale is None else _scaled(value, scale)


def _scaled(value: float, scale: Scale) -> tuple[str, str]:
    """Return a number of bytes or bits in the unit of its size; there are no halves of the smallest unit."""
    shown = value / scale.divisor
    is_whole = (scale.is_smallest and float(shown).is_integer()) or abs(shown) >= 999.5
    return _fixed(shown, 0) if is_whole else _significant(shown), scale.unit


def _milliseconds(value: float) -> tuple[str, str]:
    size = abs(value)
    if size >= 59_950:
        return _fixed(value / 60_000, 1), "min"
    if size >= 999.5:
        return _fixed(value / 1000, 1 if size >= 9_995 else 2), "s"
    if 0 < size < 0.0995:
        return _significant(value), "ms"
    return _fixed(value, 0 if size >= 99.95 else 1), "ms"


def _percent(value: float) -> str:
    size = abs(value)
    if size >= 9_999.5:
        return _compact(value)
    # One decimal is too coarse near both ends: error rates stay below 1 %, uptimes above 99.9 %.
    return _fixed(value, 2 if size < 0.995 or 99.9 < size < 100 else 1)


def _compact(value: float) -> str:
    """Return `value` with about three significant digits: 0.034, 3.46, 87.2, 132, 12.3k, 4.56M."""
    size = abs(value)
    if size >= _HUGE:
        return _fixed(value, 0)
    for factor, letter in _MAGNITUDES:
        # 999,950 must become "1.00M", not "1,000k". Whole numbers up to 9,999 stay whole.
        if size >= factor * 0.9995 and (factor > 1e3 or size >= 9_999.5):
            return _significant(value / factor) + letter
    return _fixed(value, 0) if size >= 999.5 else _significant(value)


def _significant(value: float) -> str:
    size = abs(value)
    if 0 < size < _TINY:
        return _exponential(value)
    for least, decimals in ((99.95, 0), (9.995, 1), (0.1, 2), (0.001, 4)):
        if size >= least:
            return _fixed(value, decimals)
    return _fixed(value, 5 if size else 2)


def _fixed(value: float, decimals: int) -> str:
    if abs(value) >= _HUGE:
        return _exponential(value)
    # Round as browsers do: the shortest decimal that is this double, ties away from zero.
    rounded = Decimal(str(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return f"{abs(rounded) if rounded.is_zero() else rounded:,f}"


def _exponential(value: float) -> str:
    # Without the plus and the zero before a digit, as browsers write it.
    number, _, power = f"{value:.2e}".partition("e")
    return f"{number}e{int(power)}"


def format_duration(seconds: float | None) -> str:
    """Return a duration in its two largest units, such as "1 h 4 min" or "12 min 30 s"."""
    if seconds is None:
        return NO_VALUE
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((index for index, (count, _) in enumerate(units) if count), 3)
    shown = units[first : first + 2]
    return " ".join(f"{count}{_NO_BREAK}{name}" for count, name in shown if count or (name == "s" and not whole))


def format_timestamp(seconds: float) -> str:
    """Return an instant, in seconds since the epoch, as ISO 8601 in UTC with microseconds and a `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def quote(value: Any, *, limit: int = 60) -> str:
    """Return `value` for a message, cut to `limit` characters: a text in quotes, anything else as JSON if possible."""
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[:limit] + "…")
    try:
        # JSON has no NaN and no infinities; msgspec would write null.
        is_json = not isinstance(value, float) or math.isfinite(value)
        text = msgspec.json.encode(value).decode() if is_json else repr(value)
    except (OverflowError, TypeError, ValueError, RecursionError):
        try:
            text = repr(value)
        except RecursionError:
            return "a value that is nested too deeply"
        except ValueError:  # Python writes no integers of more than 4,300 digits
            return "a number of too many digits"
    return text if len(text) <= limit else text[:limit] + "…"


def quote_some(values: Sequence[Any], *, most: int = 5) -> str:
    """Return the first values for a message, quoted, and how many there are besides."""
    shown = ", ".join(quote(value) for value in values[:most])
    return f"{shown} and {len(values) - most:,} more" if len(values) > most else shown
