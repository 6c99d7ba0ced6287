"""Columns that several models of access have."""

from __future__ import annotations

from typing import Any

from django.db import models

from metrics_stream.models.validators import validate_permitted_types, validate_terms


def types_field() -> models.JSONField[Any, Any]:
    """Return the column of the metric types that something grants."""
    return models.JSONField(
        default=list,
        blank=True,
        validators=[validate_permitted_types],
        help_text="Grants nothing unless types are listed; `all` grants every type.",
    )


def terms_field(label: str, help_text: str) -> models.JSONField[Any, Any]:
    """Return a column of sources, ids of agents or fields."""
    return models.JSONField(label, default=list, blank=True, validators=[validate_terms], help_text=help_text)
