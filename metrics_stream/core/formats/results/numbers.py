"""Numbers of result files. A text is never guessed: a comma may be a decimal sign or not, so it is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.figures import Figure
from metrics_stream.core.formats.results.file import quote_value
from metrics_stream.core.instants import ALLOWED_INSTANTS, read_instant

# What tools write where there is no number.
_NO_NUMBERS = frozenset({"", "-", "n/a", "nan", "-nan", "+nan", "null", "none"})
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ALLOWED = "a number such as 1234.5, without spaces, commas or a unit"

# No count and no time in milliseconds is larger; every float up to it is exact in its whole part.
MAX_NUMBER = 2.0**53

# Names that tools give to the percentiles of times: p95, p(99.9), p97_5, p999, 95%, med, median.
_PERCENTILE = re.compile(r"p\(?(\d{1,3}(?:[._]\d{1,6})?|\d{4,6})\)?|(\d{1,3}(?:\.\d{1,6})?)%?", re.ASCII)


def read_number(value: Any, what: str) -> float | None:
    """Return a number that is not negative, None where the tool says that there is none; raise ResultFileError."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _NO_NUMBERS:
            return None
        if not _NUMBER.fullmatch(text):
            raise quote_value(what, value, _ALLOWED)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise quote_value(what, value, "a number")
    if isinstance(value, float) and math.isnan(value):
        return None
    if not 0 <= value <= MAX_NUMBER:
        raise quote_value(what, value, f"a number from 0 to {MAX_NUMBER:.0f}")
    return float(value)


def read_count(value: Any, what: str) -> int:
    """Return a whole number; raise ResultFileError."""
    number = read_number(value, what)
    if number is None or not number.is_integer():
        raise quote_value(what, value, "a whole number")
    return int(number)


def read_when(value: Any, what: str) -> float | None:
    """Return an instant in seconds since 1970, None for None; raise ResultFileError."""
    if value is None:
        return None
    try:
        return read_instant(value)
    except ValueError as error:
        raise quote_value(what, value, ALLOWED_INSTANTS) from error


def rounded(value: Any, what: str, *, factor: float = 1.0) -> Figure | None:
    """Return a number as the tool writes it, times `factor`; it is rounded to the digits that the text has."""
    number = read_number(value, what)
    if number is None:
        return None
    decimals = str(value).strip().lower().partition("e")[0].partition(".")[2]
    within = 0.5 * 10.0 ** -len(decimals)
    return Figure(number * factor, within * factor)


def stated(value: Any, what: str, *, within: float = 0.0) -> Figure | None:
    """Return a number that the tool rounds by a known rule."""
    number = read_number(value, what)
    return None if number is None else Figure(number, within)


def percent_of(name: str) -> float | None:
    """Return the percentage that the name of a percentile means: 99.9 for p999, p(99.9), p99_9 and 99.9%.

    None for a name of something else.
    """
    if name in ("med", "median"):
        return 50.0
    found = _PERCENTILE.fullmatch(name)
    if found is None:
        return None
    digits = (found[1] or found[2]).replace("_", ".")
    if found[1] and "." not in digits and len(digits) > 2 and digits != "100":
        digits = f"{digits[:2]}.{digits[2:]}"
    percent = float(digits)
    return percent if percent <= 100 else None


def per_second(count: int, seconds: Figure | None) -> Figure | None:
    """Return a rate, which is as inexact as the duration; None if that is unknown or 0."""
    if seconds is None or not seconds.value:
        return None
    rate = count / seconds.value
    return Figure(rate, rate * seconds.within / seconds.value)


def percentiles(pairs: Iterable[tuple[str, str]], *, factor: float = 1.0) -> dict[float, Figure]:
    """Return the percentiles in pairs of name and time as the tool writes them; other names are left out."""
    return {
        percent: figure
        for name, text in pairs
        if (percent := percent_of(name)) is not None and (figure := rounded(text, name, factor=factor)) is not None
    }


def sum_counts(counts: Iterable[tuple[str, Any]], what: str) -> int:
    """Return the sum of counts by their names; raise ResultFileError."""
    return sum(read_count(value, f"{what} {name}") for name, value in counts)


def need(value: Any, what: str) -> Any:
    """Return a value that a complete file has; raise ResultFileError for None."""
    if value is None:
        raise ResultFileError(f"{what} is missing; is the file complete?")
    return value


def need_object(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object; raise ResultFileError for anything else."""
    if value is None:
        raise ResultFileError(f"{what} is missing; is the file complete?")
    if not isinstance(value, dict):
        raise quote_value(what, value, "an object")
    return value
