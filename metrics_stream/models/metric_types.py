"""Metric types that are declared while the server runs: by an admin, or by a first publication.

`definitions` tells every process what is stored here. What a row says goes before what the settings say of its slug.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import models

from metrics_stream.core.formatting import quote
from metrics_stream.core.metrics.catalogue import (
    ALL,
    BUILTIN_TYPES,
    SLUG_PATTERN,
    SLUG_RULE,
    Field,
    FieldKind,
    MetricType,
    find_fault_of_key,
)
from metrics_stream.core.metrics.directions import Good
from metrics_stream.core.metrics.labels import label_of
from metrics_stream.core.metrics.summaries import kind_by_name
from metrics_stream.models.access import AccessToken
from metrics_stream.models.changes import record_changes
from metrics_stream.models.validators import validate_paths, validate_printable

MAX_TYPES = 200
"""Declared types of an installation: clients get a description of each, and each has a group on the channel layer."""

_BUILT_IN = frozenset(item.slug for item in BUILTIN_TYPES)


def validate_new_slug(value: str) -> None:
    """Accept the slug of a metric type that is not built in."""
    if not SLUG_PATTERN.fullmatch(value):
        raise ValidationError(f"{quote(value)} is not a slug; allowed: {SLUG_RULE}")
    if value == ALL or value in _BUILT_IN:
        raise ValidationError(f"{quote(value)} exists already; allowed: a slug that is neither `all` nor built in")


def validate_key(value: Any) -> None:
    """Accept a list of names of key parts, or an empty list."""
    if fault := find_fault_of_key(value):
        raise ValidationError(fault)


class MetricTypeDeclaration(models.Model):
    """A metric type beside the built-in ones, with what pages need to show it."""

    slug = models.CharField(
        max_length=40,
        unique=True,
        validators=[validate_new_slug],
        help_text="Producers send it as metric_type: lower-case letters, digits and underscores. It cannot be changed.",
    )
    label = models.CharField(max_length=100, blank=True, validators=[validate_printable], help_text="Empty: the slug.")
    key = models.JSONField(
        "key parts",
        default=list,
        blank=True,
        validators=[validate_key],
        help_text="For data that is a list of rows: the fields that tell one row from the others, one per line. Empty: "
        "data is one object. It can be set once.",
    )
    optional_key = models.JSONField(
        "optional key parts",
        default=list,
        blank=True,
        validators=[validate_key],
        help_text="Parts of the key that a row may lack, one per line. More can be added later.",
    )
    created_at = models.DateTimeField("created", auto_now_add=True)
    created_by_token = models.ForeignKey(
        AccessToken,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="created_types",
        help_text="The token whose program published it first.",
    )

    history = record_changes()

    class Meta:
        """The order in lists and in the catalogue."""

        ordering = ["slug"]
        verbose_name = "metric type"

    def __str__(self) -> str:
        return self.label or self.slug

    def clean(self) -> None:
        """Refuse another slug or key than the stored one; optional parts may be appended."""
        if isinstance(self.key, list) and isinstance(self.optional_key, list):
            if twice := next((part for part in self.optional_key if part in self.key), None):
                raise ValidationError(
                    {"optional_key": f"{quote(twice)} is a key part already; allowed: each part once"}
                )
            if self.optional_key and not self.key:
                raise ValidationError({"optional_key": "optional parts alone name no row; allowed: beside key parts"})
        stored = None if self.pk is None else MetricTypeDeclaration.objects.filter(pk=self.pk).first()
        if stored is None:
            return
        if self.slug != stored.slug:
            message = f"the slug is {quote(stored.slug)} and cannot be changed: recorded metrics are stored with it"
            raise ValidationError({"slug": message})
        if stored.key and self.key != stored.key:
            message = f"the key is {_words(stored.key)} and cannot be changed; allowed: more optional parts"
            raise ValidationError({"key": message})
        if self.optional_key[: len(stored.optional_key)] != stored.optional_key:
            message = f"the optional parts are {_words(stored.optional_key)}; allowed: these, and others after them"
            raise ValidationError({"optional_key": message})

    @property
    def metric_type(self) -> MetricType:
        """The metric type as the catalogue has it."""
        return MetricType(
            self.slug,
            self.label or label_of(self.slug),
            tuple(field.field for field in self.fields.all()),
            (*self.key, *self.optional_key),
            frozenset(self.optional_key),
        )


def _words(parts: Sequence[str]) -> str:
    return ", ".join(parts) or "none"


_BY_NAME = ("", "As its name says")
KINDS = [
    _BY_NAME,
    ("gauge", "Gauge: a level; the mean counts"),
    ("rate", "Rate: so many each second; the mean counts"),
    ("counter", "Counter: grows; the last value counts"),
    ("maximum", "Maximum: the highest value counts"),
    ("minimum", "Minimum: the lowest value counts"),
    ("percentile", "Percentile: never averaged"),
    ("text", "Text"),
]
"""What the values of a field are; it decides how they are summarised."""
DIRECTIONS = [
    _BY_NAME,
    ("higher", "Higher is better"),
    ("lower", "Lower is better"),
    ("none", "Neither"),
]
"""Which direction of the values of a field is good."""


class MetricTypeField(models.Model):
    """A field of a declared metric type: how pages name it, which unit it has, and which direction is good."""

    metric_type = models.ForeignKey(MetricTypeDeclaration, on_delete=models.CASCADE, related_name="fields")
    name = models.CharField(
        max_length=200, help_text="Its key in data. A field inside an object is written with a dot: cost.total."
    )
    label = models.CharField(max_length=100, blank=True, validators=[validate_printable], help_text="Empty: the name.")
    unit = models.CharField(
        max_length=20,
        blank=True,
        validators=[validate_printable],
        help_text="ms, s, tps, /s, MB, $, count, ratio (0 to 1), percent (0 to 100), or a unit of your own.",
    )
    kind = models.CharField(max_length=10, choices=KINDS, default="", blank=True)
    good = models.CharField("good direction", max_length=6, choices=DIRECTIONS, default="", blank=True)

    history = record_changes()

    class Meta:
        """The order in forms, and one row for each name."""

        ordering = ["pk"]
        verbose_name = "field"
        constraints = [models.UniqueConstraint(fields=["metric_type", "name"], name="one_row_for_each_field")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a name that is no path, and a kind that contradicts another type: a name has one kind everywhere."""
        try:
            validate_paths([self.name])
        except ValidationError as error:
            raise ValidationError({"name": error.messages}) from error
        if not self.kind:
            return
        known = {field.name: field.kind for item in BUILTIN_TYPES for field in item.fields}
        others = MetricTypeField.objects.filter(name=self.name).exclude(kind="").exclude(pk=self.pk)
        other = known.get(self.name) or others.exclude(kind=self.kind).values_list("kind", flat=True).first()
        if other is not None and other != self.kind:
            message = f"the field {quote(self.name)} is a {other} in another metric type; allowed: {other}"
            raise ValidationError({"kind": message})

    @property
    def field(self) -> Field:
        """The field as the catalogue has it."""
        return Field(
            self.name,
            self.label or label_of(self.name, self.unit),
            self.unit,
            cast(FieldKind, self.kind) or kind_by_name(self.name),
            None,
            None,
            good=cast(Good, self.good) or None,
        )
