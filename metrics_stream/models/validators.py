"""Validators of the models' columns, with messages for the forms of the admin.

Every `validate_…` takes a value, returns nothing, and raises ValidationError naming the value and what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError

from metrics_stream.conf import get_settings
from metrics_stream.core.errors import RunError
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import ALL, SLUG_PATTERN
from metrics_stream.core.metrics.keys import AGENT_ID, is_name
from metrics_stream.core.run_values import read_parameters, read_phase_name, read_test
from metrics_stream.models.key_filters import validate_key_filters

SCOPES = ("subscribe", "publish", "runs", "types")
"""What a token can allow."""

MAX_TERM_LENGTH = 200
MAX_PANEL_FIELDS = 50
MAX_TEXT_LENGTH = 5_000
MAX_KEY_TERMS = 50

# Control characters are never intended, and no database can store halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_UNPRINTABLE_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PATH = re.compile(r"[^.\s]([^.]*[^.\s])?(\.[^.\s]([^.]*[^.\s])?)*")


def outside(low: float, high: float) -> str:
    """Return the message for a number outside `low` to `high`, for Django's own validators."""
    return f"%(show_value)s is out of range; allowed: {low} to {high}"


def validate_printable(value: str) -> None:
    """Accept a line of text without control characters and halves of surrogate pairs."""
    if found := _UNPRINTABLE.search(value):
        raise ValidationError(
            f"{quote(value)} holds the character {found.group()!r}; allowed: letters, digits, signs and spaces"
        )


def validate_text(value: str) -> None:
    """Accept a text of several lines."""
    if len(value) > MAX_TEXT_LENGTH:
        raise ValidationError(f"the text has {len(value):,} characters; allowed: at most {MAX_TEXT_LENGTH:,}")
    if found := _UNPRINTABLE_IN_TEXT.search(value):
        raise ValidationError(
            f"the text holds the character {found.group()!r}; allowed: letters, digits, signs, spaces and line ends"
        )


def validate_finite(value: float | None) -> None:
    """Accept a number that is neither NaN nor infinite."""
    if value is not None and not math.isfinite(value):
        raise ValidationError(f"{value} is not a finite number")


def validate_metric_type(value: str) -> None:
    """Accept a metric type of this installation."""
    slugs = get_settings().catalogue().slugs
    if value not in slugs:
        raise ValidationError(f"unknown metric type {quote(value)}; allowed: {', '.join(slugs)}")


def validate_metric_types(value: Any) -> None:
    """Accept a list of different metric types of this installation, or an empty list."""
    for slug in _terms(value, limit=len(get_settings().catalogue().slugs)):
        validate_metric_type(slug)


def validate_permitted_types(value: Any) -> None:
    """Accept a list of different metric types of this installation, with or without `all`, or an empty list."""
    slugs = get_settings().catalogue().slugs
    for slug in _terms(value, limit=len(slugs) + 1):
        if slug != ALL:
            validate_metric_type(slug)


def validate_scopes(value: Any) -> None:
    """Accept a list of one or more scopes of a token."""
    scopes = _terms(value, limit=len(SCOPES))
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ValidationError(f"{quote(value)} is not a list of scopes; allowed: {', '.join(SCOPES)}, at least one")


def validate_terms(value: Any) -> None:
    """Accept a list of agent ids, sources or field names, or an empty list."""
    _terms(value, limit=int(get_settings().max_filter_terms))


def validate_paths(value: Any) -> None:
    """Accept a list of dotted paths into `data`, or an empty list."""
    for path in _terms(value, limit=MAX_PANEL_FIELDS):
        if not _PATH.fullmatch(path):
            raise ValidationError(
                f"{quote(path)} is not a field; allowed: a name, or names joined by single dots such as 'cost.total'"
            )


def _terms(value: Any, *, limit: int) -> list[str]:
    if not isinstance(value, list):
        raise ValidationError(f"{quote(value)} is not a list; allowed: a list of texts, or an empty one")
    if len(value) > limit:
        raise ValidationError(f"the list has {len(value):,} entries; allowed: at most {limit:,}")
    for term in value:
        if not isinstance(term, str) or not term.strip():
            raise ValidationError(f"{quote(term)} is not a text; allowed: a list of texts that are not empty")
        if len(term) > MAX_TERM_LENGTH:
            raise ValidationError(
                f"{quote(term)} has {len(term):,} characters; allowed: at most {MAX_TERM_LENGTH} for each entry"
            )
        validate_printable(term)
    if len(set(value)) < len(value):
        twice = next(term for term in value if value.count(term) > 1)
        raise ValidationError(f"{quote(twice)} is listed more than once; allowed: each entry once")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TERM_LENGTH and _PATH.fullmatch(value) is not None


def _is_slug(value: Any) -> bool:
    return isinstance(value, str) and SLUG_PATTERN.fullmatch(value) is not None


def _is_key_filter(value: Any) -> bool:
    """Return whether a value is a list of terms such as `name=/api/*` or `agent_id=agent_1`."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_KEY_TERMS:
        return False
    agents = [term for term in value if isinstance(term, str) and term.startswith(f"{AGENT_ID}=")]
    try:
        validate_key_filters([term for term in value if term not in agents])
    except ValidationError:
        return False
    return all(is_name(term) for term in agents)


OPTIONS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "window_seconds": ("a number from 10 to 3600", lambda value: _is_number(value) and 10 <= value <= 3600),
    "minimum": ("a finite number", _is_number),
    "maximum": ("a finite number", _is_number),
    "stacked": ("true or false", lambda value: isinstance(value, bool)),
    "trend": ("true or false", lambda value: isinstance(value, bool)),
    "text": ("a text", lambda value: isinstance(value, str)),
    "max_rows": ("a whole number from 1 to 1000", _is_whole(1, 1000)),
    "top": ("a whole number from 1 to 16", _is_whole(1, 16)),
    "by": ("the name of a field", _is_path),
    "add_sources": ("true or false", lambda value: isinstance(value, bool)),
    "sources_with": ("the slug of a metric type", _is_slug),
    "keys": ("a list of 1 to 50 terms such as name=/api/*", _is_key_filter),
}
"""The options of a panel: the allowed values of each, in words and as a check."""


def validate_options(value: Any) -> None:
    """Accept the options of a panel: an object with known keys."""
    if not isinstance(value, dict):
        raise ValidationError(f"{quote(value)} is not an object; allowed: an object of options, or an empty one")
    for key, option in value.items():
        if key not in OPTIONS:
            raise ValidationError(f"unknown option {quote(key)}; allowed: {', '.join(OPTIONS)}")
        allowed, fits = OPTIONS[key]
        if not fits(option):
            raise ValidationError(f"the option {key} is {quote(option)}; allowed: {allowed}")
    if "minimum" in value and "maximum" in value and value["minimum"] >= value["maximum"]:
        raise ValidationError(
            f"the minimum {value['minimum']} is not below the maximum {value['maximum']}; allowed: a smaller minimum"
        )
    validate_text(value.get("text", ""))


# --- test runs ---


def validate_test(value: Any) -> None:
    """Accept the slug of a test."""
    _check(read_test, value)


def validate_parameters(value: Any) -> None:
    """Accept the parameters of a test run: an object of texts, numbers and booleans, or an empty one."""
    _check(read_parameters, value)


def validate_phase_name(value: Any) -> None:
    """Accept the name of a phase."""
    _check(read_phase_name, value)


def _check(read: Callable[[Any], object], value: Any) -> None:
    try:
        read(value)
    except RunError as error:
        raise ValidationError(str(error)) from error
