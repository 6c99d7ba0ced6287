"""What admins edit: presets for clients, dashboards and their panels.

Room: models. Columns only hold what `validators.py` accepts, as long as it comes through a form or `full_clean`. What
got in otherwise, or stopped being valid when settings changed, is found by `Panel.problem` and never breaks a page.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.urls import reverse
from simple_history.models import HistoricalRecords

from metrics_stream.models.validators import (
    outside,
    validate_finite,
    validate_metric_type,
    validate_metric_types,
    validate_options,
    validate_paths,
    validate_printable,
    validate_terms,
    validate_text,
)


class ClientPreset(models.Model):
    """A named selection and delivery that a client takes with `?preset=<slug>`."""

    class Mode(models.TextChoices):
        """What a client gets when several metrics arrived since its last frame."""

        ALL = "all", "Every metric, oldest first"
        LATEST = "latest", "Only the newest of each type, source and agent"
        AGGREGATE = "aggregate", "A summary of each type, source and agent"

    name = models.CharField(max_length=100, unique=True, validators=[validate_printable])
    slug = models.SlugField(
        unique=True,
        help_text="Clients name it when they connect: /ws/metrics/?preset=this-slug. They break if it changes.",
    )
    description = models.TextField(
        blank=True,
        validators=[validate_text],
        help_text="Who should choose this preset, and why. Shown on the console.",
    )
    metric_types = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_metric_types],
        help_text="What a client gets as soon as it has connected. None: nothing until it subscribes.",
    )
    agent_ids = models.JSONField(
        "agents",
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="Ids, one a line. Keeps only these agents; metrics that have no agents are not affected. "
        "Empty: every agent.",
    )
    sources = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="Host names, one a line. Keeps only what these machines publish. Empty: every source.",
    )
    fields = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="Names, one a line. Keeps only these fields of each metric. Empty: every field.",
    )
    interval_seconds = models.FloatField(
        "interval in seconds",
        default=1.0,
        validators=[
            validate_finite,
            MinValueValidator(0.1, outside(0.1, 60)),
            MaxValueValidator(60.0, outside(0.1, 60)),
        ],
        help_text="The shortest time between two frames to a client: 0.1 to 60.",
    )
    batch_size = models.PositiveIntegerField(
        default=10,
        validators=[MinValueValidator(1, outside(1, 1000)), MaxValueValidator(1000, outside(1, 1000))],
        help_text="A frame leaves when this many metrics wait and the interval has passed: 1 to 1000.",
    )
    batch_timeout_seconds = models.FloatField(
        "batch timeout in seconds",
        default=0.5,
        validators=[validate_finite, MinValueValidator(0.0, outside(0, 60)), MaxValueValidator(60.0, outside(0, 60))],
        help_text="Or when this much time has passed since the last frame and anything waits: 0 to 60.",
    )
    mode = models.CharField(
        max_length=10,
        choices=Mode.choices,
        default=Mode.ALL,
        help_text="The newest is enough for numbers on a wall or over a phone; a summary (mean, minimum, maximum) "
        "keeps the peaks of a slow interval; charts without gaps need every metric.",
    )
    is_default = models.BooleanField(
        "default",
        default=False,
        help_text="Dashboards without a preset of their own use this one. Only one preset can be the default: "
        "choosing this one takes the mark from the other.",
    )

    history = HistoricalRecords()

    class Meta:
        """Order in lists, and the promise that at most one preset is the default."""

        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="metrics_stream_one_default_preset"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the address of the console with this preset chosen."""
        return f"{reverse('metrics_stream:console')}?preset={self.slug}"

    def validate_constraints(self, exclude: Any = None) -> None:
        """Leave out the single default, which `save` makes true instead of complaining."""
        super().validate_constraints(exclude={*(exclude or ()), "is_default"})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and take the mark from the previous default when this one is the default now."""
        with transaction.atomic():
            if self.is_default:
                # One by one instead of update(), so that the history shows the change.
                for other in ClientPreset.objects.select_for_update().filter(is_default=True).exclude(pk=self.pk):
                    other.is_default = False
                    other.save(update_fields=["is_default"])
            super().save(*args, **kwargs)


class Dashboard(models.Model):
    """A page of panels that viewers open."""

    class Kind(models.TextChoices):
        """How the page is laid out."""

        STANDARD = "standard", "Standard (a desk or a phone)"
        PRESENTATION = "presentation", "Presentation (readable across a room)"

    title = models.CharField(max_length=100, validators=[validate_printable])
    slug = models.SlugField(unique=True, help_text="The address of the page: /dashboards/this-slug/.")
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.STANDARD)
    description = models.TextField(
        blank=True, validators=[validate_text], help_text="What one sees here, in a sentence. Shown on the home page."
    )
    preset = models.ForeignKey(
        ClientPreset,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="dashboards",
        help_text="How often the page gets new values, and from which sources and agents. "
        "Empty: the default preset. The metric types come from the panels.",
    )
    order = models.PositiveIntegerField(default=0, db_index=True)
    published = models.BooleanField(default=True, help_text="Off: only staff can open the page.")

    history = HistoricalRecords()

    class Meta:
        """Order in the navigation."""

        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """Return the address of the page."""
        return reverse("metrics_stream:dashboard", args=[self.slug])


class Panel(models.Model):
    """One box of a dashboard: what it shows, of which metric type, and when to worry."""

    class Kind(models.TextChoices):
        """What a panel draws."""

        LINE = "line", "Line chart"
        NUMBER = "number", "Big number"
        GAUGE = "gauge", "Gauge"
        BAR = "bar", "Bars"
        TABLE = "table", "Table"
        STATUS = "status", "Status list"
        FLOW = "flow", "Flow of nodes"
        TEXT = "text", "Text"

    class Size(models.TextChoices):
        """How wide a panel is on a wide screen."""

        SMALL = "small", "Small"
        MEDIUM = "medium", "Medium"
        LARGE = "large", "Large"
        FULL = "full", "Full width"

    OPTIONS_OF_KIND: dict[str, tuple[str, ...]] = {
        Kind.LINE: ("window_seconds", "minimum", "maximum", "stacked"),
        Kind.NUMBER: ("trend", "window_seconds"),
        Kind.GAUGE: ("minimum", "maximum"),
        Kind.BAR: ("minimum", "maximum", "max_rows"),
        Kind.TABLE: ("max_rows",),
        Kind.TEXT: ("text",),
    }
    # How many fields a kind needs at least and takes at most.
    FIELDS_OF_KIND: dict[str, tuple[int, int | None]] = {
        Kind.LINE: (1, None),
        Kind.NUMBER: (1, 1),
        Kind.GAUGE: (1, 1),
        Kind.BAR: (1, None),
        Kind.TABLE: (1, None),
        Kind.STATUS: (0, None),
        Kind.FLOW: (0, 1),
        Kind.TEXT: (0, 0),
    }

    dashboard = models.ForeignKey(Dashboard, on_delete=models.CASCADE, related_name="panels")
    title = models.CharField(max_length=100, validators=[validate_printable])
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.LINE)
    metric_type = models.CharField(max_length=40, blank=True, validators=[validate_metric_type])
    fields = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_paths],
        help_text="One a line. A field inside an object is written with a dot: cost_efficiency.cost_per_transaction.",
    )
    unit = models.CharField(
        max_length=20,
        blank=True,
        validators=[validate_printable],
        help_text="Empty: the unit of the field. Otherwise ratio (0 to 1, shown as %), percent (0 to 100), ms, tps, "
        "Mbps, $, count, months, score or a word of your own.",
    )
    decimals = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(6, outside(0, 6))],
        help_text="0 to 6. Empty: what fits the value.",
    )
    warning_at = models.FloatField(
        null=True, blank=True, validators=[validate_finite], help_text="From this value on the panel warns."
    )
    critical_at = models.FloatField(
        null=True,
        blank=True,
        validators=[validate_finite],
        help_text="From this value on it is critical. Lower than the warning: low values are the bad ones.",
    )
    size = models.CharField(max_length=10, choices=Size.choices, default=Size.MEDIUM)
    order = models.PositiveIntegerField(default=0, db_index=True)
    options = models.JSONField(default=dict, blank=True, validators=[validate_options])

    history = HistoricalRecords()

    class Meta:
        """Order on the page."""

        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Check what one column cannot know: each kind needs its metric type, fields and text."""
        errors: dict[str, str] = {}
        kind = dict(self.Kind.choices).get(self.kind)
        if kind is None:
            return  # the column's own check has said so
        if self.kind == self.Kind.TEXT:
            if not (isinstance(self.options, dict) and str(self.options.get("text") or "").strip()):
                errors["options"] = "A text panel has no text; write what it shows."
        elif not self.metric_type:
            errors["metric_type"] = f"The panel is of kind {kind!r}; choose the metric type that it shows."
        if (isinstance(self.fields, list) or not self.fields) and (problem := self._wrong_number_of_fields(kind)):
            errors["fields"] = problem
        if errors:
            raise ValidationError(errors)

    def _wrong_number_of_fields(self, kind: str) -> str | None:
        least, most = self.FIELDS_OF_KIND[self.kind]
        count = len(self.fields or [])
        if count < least:
            return f"The panel is of kind {kind!r} and names no field; name at least one."
        if most is not None and count > most:
            allowed = "no field" if most == 0 else "one field"
            return f"The panel is of kind {kind!r} and names {count} fields; allowed: {allowed}."
        return None

    @property
    def problem(self) -> str:
        """Return why the stored values cannot be shown, in a line for people, or nothing when all is well."""
        try:
            # The dashboard is left out because checking a foreign key is a query.
            self.clean_fields(exclude={"dashboard"})
            self.clean()
        except ValidationError as error:
            return "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items())
        return ""
