"""The column of key filters of presets, policies and tokens: lines such as `name=/api/*`, one pattern a line.

Several patterns of a part are alternatives; several parts must all match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from metrics_stream.conf import get_settings
from metrics_stream.core.delivery.selection import MAX_PARTS, MAX_WILD_TERMS
from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.keys import AGENT_ID, ALLOWED_NAME, Terms, is_name
from metrics_stream.core.metrics.patterns import count_wild


def key_filters_field(help_text: str) -> models.JSONField[Any, Any]:
    """Return the column of a model."""
    return models.JSONField(
        "requests and other rows", default=list, blank=True, validators=[validate_key_filters], help_text=help_text
    )


def read_terms(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the patterns by part."""
    found: dict[str, list[str]] = {}
    for line in lines:
        part, _, pattern = line.partition("=")
        found.setdefault(part.strip(), []).append(pattern.strip())
    return found


def write_terms(terms: Mapping[str, Iterable[str]]) -> list[str]:
    """Return patterns by part as the lines that `read_terms` reads."""
    return [f"{part}={pattern}" for part, patterns in terms.items() for pattern in patterns]


def terms_of(lines: Iterable[str]) -> frozenset[Terms]:
    """Return the lines as terms of a grant."""
    return frozenset(Terms(part, frozenset(patterns)) for part, patterns in read_terms(lines).items())


def validate_key_filters(value: Any) -> None:
    """Accept a list of different lines `part=pattern`, or an empty list."""
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise ValidationError(f"{quote(value)} is not a list of lines; allowed: lines such as name=/api/*")
    limit = int(get_settings().max_filter_terms)
    if len(value) > limit:
        raise ValidationError(f"there are {len(value):,} lines; allowed: at most {limit:,}")
    for line in value:
        part, equals, pattern = (text.strip() for text in line.partition("="))
        if not equals or not part:
            raise ValidationError(
                f"{quote(line)} names no part of a key; allowed: lines such as name=/api/* or method=GET, one each"
            )
        if part == AGENT_ID:
            raise ValidationError(f"{quote(line)} is about agents; allowed: the field of agents for them")
        if not is_name(part) or (pattern and not is_name(pattern)):
            raise ValidationError(
                f"{quote(line)} is too long or unprintable; allowed: parts and patterns of {ALLOWED_NAME}"
            )
    if len(set(value)) < len(value):
        twice = next(line for line in value if value.count(line) > 1)
        raise ValidationError(f"{quote(twice)} is listed more than once; allowed: each line once")
    if (count := len(read_terms(value))) > MAX_PARTS:
        raise ValidationError(f"{count} parts of keys are named; allowed: at most {MAX_PARTS}")
    if (count := count_wild(value)) > MAX_WILD_TERMS:
        raise ValidationError(f"{count} lines have a `*`; allowed: at most {MAX_WILD_TERMS}")
