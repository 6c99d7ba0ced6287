"""Checks of the arguments of collectors, the same for the command line and for Python callers."""

from __future__ import annotations

import math
from typing import Any

from metrics_stream.core.errors import CollectorError


def number_between(name: str, value: Any, minimum: float, maximum: float) -> float:
    """Return `value` (a number, or its text) as a float within the bounds, or raise CollectorError naming it."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not minimum <= number <= maximum:
        raise CollectorError(f"{name} is {_quote_value(value)}; allowed: a number from {minimum:g} to {maximum:g}")
    return number


def integer_between(name: str, value: Any, minimum: int, maximum: int) -> int:
    """Return `value` (a whole number, or its text) as an int within the bounds, or raise CollectorError naming it."""
    try:
        number = None if isinstance(value, bool | float) else int(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not minimum <= number <= maximum:
        raise CollectorError(f"{name} is {_quote_value(value)}; allowed: a whole number from {minimum} to {maximum}")
    return number


def _quote_value(value: Any) -> str:
    """Return `value` as it was typed, short enough for one line."""
    text = repr(value) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= 80 else f"{text[:77]}..."
