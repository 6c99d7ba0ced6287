"""What admins edit: presets for clients, dashboards and their panels.

A form or `full_clean` stores only what `validators.py` accepts. A value that was stored in another way, or that is no
longer valid after a change of the settings, is reported by `Panel.problem` and breaks no page.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.urls import reverse

from metrics_stream.models.changes import record_changes
from metrics_stream.models.key_filters import key_filters_field
from metrics_stream.models.panel_kinds import LINE, PANEL_KINDS, kind_choices
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
    """A named selection and delivery, which a client chooses with `?preset=<slug>`."""

    class Mode(models.TextChoices):
        """What a client gets when several metrics arrived since its last frame."""

        ALL = "all", "Every metric, oldest first"
        LATEST = "latest", "Only the newest of each type, source and agent"
        AGGREGATE = "aggregate", "A summary of each type, source and agent"

    name = models.CharField(max_length=100, unique=True, validators=[validate_printable])
    slug = models.SlugField(
        unique=True,
        help_text="Clients name it when they connect: /ws/metrics/?preset=this-slug. A change breaks them.",
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
        help_text="Agent ids, one per line. Only these agents are sent; metrics without agents are not affected. "
        "Empty: every agent.",
    )
    keys = key_filters_field(
        "Lines such as name=/api/* or method=GET, where * stands for any text. Only these requests, errors and other "
        "rows are sent. Lines of one part are alternatives, and each part that is named must fit. Empty: every row."
    )
    sources = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="Host names, one per line. Only metrics of these machines are sent. Empty: every source.",
    )
    fields = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="Field names, one per line. Only these fields of each metric are sent. Empty: every field.",
    )
    interval_seconds = models.FloatField(
        "interval in seconds",
        default=1.0,
        validators=[
            validate_finite,
            MinValueValidator(0.1, outside(0.1, 60)),
            MaxValueValidator(60.0, outside(0.1, 60)),
        ],
        help_text="The shortest time between two frames to a client, 0.1 to 60.",
    )
    batch_size = models.PositiveIntegerField(
        default=10,
        validators=[MinValueValidator(1, outside(1, 1000)), MaxValueValidator(1000, outside(1, 1000))],
        help_text="After the interval, a frame is sent when this many metrics wait, 1 to 1000. 1: each metric is a "
        "message of its own.",
    )
    batch_timeout_seconds = models.FloatField(
        "batch timeout in seconds",
        default=0.5,
        validators=[validate_finite, MinValueValidator(0.0, outside(0, 60)), MaxValueValidator(60.0, outside(0, 60))],
        help_text="Or when metrics wait and this much time has passed since the last frame, 0 to 60.",
    )
    mode = models.CharField(
        max_length=10,
        choices=Mode.choices,
        default=Mode.ALL,
        help_text="The newest metric is enough for numbers on a wall or on a phone. A summary (mean, minimum, maximum) "
        "keeps the peaks of a long interval. Charts without gaps need every metric.",
    )
    sends_newest = models.BooleanField(
        "newest metrics at once",
        default=True,
        help_text="A client that subscribes first gets the newest metric of each type, source and agent. Without this "
        "it gets only what is published from then on.",
    )
    is_default = models.BooleanField(
        "default",
        default=False,
        help_text="Dashboards without a preset use this one. Only one preset can be the default: if you choose this "
        "one, the other is the default no longer.",
    )

    history = record_changes()

    class Meta:
        """The order in lists, and the constraint that at most one preset is the default."""

        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="metrics_stream_one_default_preset"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def page_address(self) -> str:
        """Return the address of the console with this preset chosen."""
        return f"{reverse('metrics_stream:console')}?preset={self.slug}"

    def validate_constraints(self, exclude: Any = None) -> None:
        """Skip the constraint of the single default, which `save` enforces."""
        super().validate_constraints(exclude={*(exclude or ()), "is_default"})

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; if this preset is the default, the previous default is the default no longer."""
        with transaction.atomic():
            if self.is_default:
                # Saved one by one: update() would leave no entry in the history.
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
        blank=True,
        validators=[validate_text],
        help_text="What the page shows, in a sentence for the home page.",
    )
    preset = models.ForeignKey(
        ClientPreset,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="dashboards",
        help_text="How often the page gets new values, and of which sources and agents. "
        "Empty: the default preset. The panels determine the metric types.",
    )
    order = models.PositiveIntegerField(default=0, db_index=True)
    published = models.BooleanField(default=True, help_text="Off: only staff can open the page.")

    history = record_changes()

    class Meta:
        """The order in the navigation."""

        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return self.title

    # Not get_absolute_url: the admin leads everybody on the staff there from the id of any object that has it.
    def page_address(self) -> str:
        """Return the address of the page."""
        return reverse("metrics_stream:dashboard", args=[self.slug])


class Panel(models.Model):
    """One box of a dashboard: what it shows, of which metric type, and from which values on it warns."""

    class Size(models.TextChoices):
        """How wide a panel is on a wide screen."""

        SMALL = "small", "Small"
        MEDIUM = "medium", "Medium"
        LARGE = "large", "Large"
        FULL = "full", "Full width"

    dashboard = models.ForeignKey(Dashboard, on_delete=models.CASCADE, related_name="panels")
    title = models.CharField(max_length=100, validators=[validate_printable])
    kind = models.CharField(max_length=10, choices=kind_choices, default=LINE.slug)
    metric_type = models.CharField(max_length=40, blank=True, validators=[validate_metric_type])
    fields = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_paths],
        help_text="One per line. A field inside an object is written with a dot: cost_efficiency.cost_per_transaction.",
    )
    unit = models.CharField(
        max_length=20,
        blank=True,
        validators=[validate_printable],
        help_text="Empty: the unit of the field. Otherwise ratio (0 to 1, shown as %), percent (0 to 100), ms, tps, "
        "Mbps, $, count, months, score or a unit of your own.",
    )
    decimals = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(6, outside(0, 6))],
        help_text="0 to 6. Empty: as many as the value needs.",
    )
    warning_at = models.FloatField(
        null=True, blank=True, validators=[validate_finite], help_text="From this value on, the panel shows a warning."
    )
    critical_at = models.FloatField(
        null=True,
        blank=True,
        validators=[validate_finite],
        help_text="From this value on, the panel is critical. If it is below the warning, low values are bad.",
    )
    size = models.CharField(max_length=10, choices=Size.choices, default=Size.MEDIUM)
    order = models.PositiveIntegerField(default=0, db_index=True)
    options = models.JSONField(default=dict, blank=True, validators=[validate_options])

    history = record_changes()

    class Meta:
        """The order on the page."""

        ordering = ["order", "pk"]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Check the columns against each other: whether the kind has its metric type, fields and text."""
        kind = PANEL_KINDS.get(self.kind)
        if kind is None:
            return  # clean_fields reports it
        errors: dict[str, str] = {}
        if not kind.shows_metrics:
            if not (isinstance(self.options, dict) and str(self.options.get("text") or "").strip()):
                errors["options"] = "A text panel has no text; write what it shows."
        elif not self.metric_type:
            errors["metric_type"] = f"The panel is of kind {kind.label!r}; choose the metric type that it shows."
        if (isinstance(self.fields, list) or not self.fields) and (
            problem := kind.problem_with(len(self.fields or []))
        ):
            errors["fields"] = problem
        if errors:
            raise ValidationError(errors)

    @property
    def shows_metrics(self) -> bool:
        """Whether the panel shows metrics; False for a text, and for a kind that does not exist."""
        return self.kind in PANEL_KINDS and PANEL_KINDS[self.kind].shows_metrics

    @property
    def problem(self) -> str:
        """Why the stored values cannot be shown, as one line for people; empty if they can."""
        try:
            # Checking the dashboard, a foreign key, would be a query.
            self.clean_fields(exclude={"dashboard"})
            self.clean()
        except ValidationError as error:
            return "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items())
        return ""
