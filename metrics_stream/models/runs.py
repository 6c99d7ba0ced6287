"""Test runs, and what was recorded of them.

Admins edit what a run says of itself: name, test, parameters, target, tags, notes. The recorder writes the rest: raw
metrics in publishing order (`MetricChunk`), and their numbers folded into buckets of 1 s to 6 h (`TierChunk`, by
`SeriesGroup`). The formats of payloads are in `core/series/packing.py` and `runs/chunks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models

from metrics_stream.core import run_values
from metrics_stream.core.formats import runs as run_formats
from metrics_stream.core.metrics.annotations import Annotation, stated_for
from metrics_stream.core.metrics.keys import MAX_ROW_BYTES, label_row
from metrics_stream.models.changes import record_changes
from metrics_stream.models.validators import (
    validate_finite,
    validate_parameters,
    validate_printable,
    validate_terms,
    validate_test,
    validate_text,
)


def delete_with_run(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    """Delete the rows of a run with one statement for each table; an `on_delete` handler of Django.

    With CASCADE, the admin would list every row on its page of confirmation.
    """
    collector.fast_deletes.append(sub_objs)


# Without this, Django fetches the rows to see whether there are any.
delete_with_run.lazy_sub_objs = True  # type: ignore[attr-defined]


class TestRun(models.Model):
    """One stress test; metrics that are published between its start and its end are recorded."""

    # Keeps pytest from taking it for a class of tests.
    __test__ = False

    class Status(models.TextChoices):
        """The state of the run."""

        NOT_STARTED = "not_started", "Not started"
        RUNNING = "running", "Running"
        PAUSED = "paused", "Paused"
        COMPLETED = run_formats.COMPLETED, "Completed"
        FAILED = run_formats.FAILED, "Failed"
        CANCELLED = run_formats.CANCELLED, "Cancelled"

    # Columns that the recorder and the running program write while people edit the run.
    RECORDED_COLUMNS = frozenset(
        {
            "alive_at",
            "first_at",
            "last_at",
            "metrics_recorded",
            "lost",
            "series_left_out",
            "source_clocks",
            "tiers_until",
            "recorded_until",
            "recording_ended_at",
        }
    )

    slug = models.SlugField(
        max_length=150,
        unique=True,
        help_text="Part of the address of the run's page, and the value of `run` in its metrics.",
    )
    name = models.CharField(max_length=100, validators=[validate_printable])
    test = models.CharField(
        max_length=run_values.MAX_TEST_LENGTH,
        blank=True,
        db_index=True,
        validators=[validate_test],
        help_text="The test of which this is one run: letters from a to z, digits, '-' and '_'. Runs of one test are "
        "compared with each other.",
    )
    parameters = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_parameters],
        help_text="What was tested, and where: commit, version, environment, address of the build. Everybody who may "
        "see the run sees them, so no passwords.",
    )
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.NOT_STARTED, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    is_past = models.BooleanField(
        default=False,
        editable=False,
        help_text="The test was over when the run was started. Its metrics are recorded with their own times, and are "
        "not shown live.",
    )
    target_tps = models.FloatField(
        "target load",
        null=True,
        blank=True,
        validators=[validate_finite, MinValueValidator(0.0)],
        help_text="In transactions per second. Empty: no target.",
    )
    tags = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="One per line. The list of runs finds them.",
    )
    notes = models.TextField(blank=True, validators=[validate_text], help_text="What was tested, and the result.")
    sources = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="Host names, one per line. Only metrics of these machines belong to the run. Empty: every source.",
    )

    started_by = models.ForeignKey(
        "AccessToken",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="runs",
        verbose_name="started by token",
        help_text="The token of the program that started the run over HTTP and may end it.",
    )
    start_key = models.CharField(
        max_length=32,
        unique=True,
        null=True,
        blank=True,
        editable=False,
        help_text="The idempotency key: it identifies a repeated request to start the run.",
    )
    alive_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the program that started the run last reported to be alive. Empty: people start and stop it.",
    )
    first_at = models.DateTimeField(
        "first metric", null=True, blank=True, editable=False, help_text="The earliest recorded timestamp."
    )
    last_at = models.DateTimeField(
        "last metric", null=True, blank=True, editable=False, help_text="The latest recorded timestamp."
    )
    metrics_recorded = models.PositiveBigIntegerField(default=0, editable=False)
    lost = models.JSONField(
        default=list,
        blank=True,
        editable=False,
        help_text="Known losses: objects with at, metric_type, count (null: unknown) and reason.",
    )
    series_left_out = models.JSONField(
        default=list,
        blank=True,
        editable=False,
        help_text="Metric types and sources of which not every series is kept, because there are too many.",
    )
    source_clocks = models.JSONField(
        default=list,
        blank=True,
        editable=False,
        help_text="Metric types, sources, and by how many seconds their clocks were ahead: their times are corrected.",
    )
    tiers_until = models.JSONField(
        default=dict,
        blank=True,
        editable=False,
        help_text="By the width of wide buckets in seconds, the number of the first bucket that is not made yet.",
    )
    recorded_until = models.JSONField(
        null=True, blank=True, editable=False, help_text="The position up to which the run is recorded."
    )
    recording_ended_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the recorder reached the end of the run. Empty: it has not reached it yet.",
    )

    history = record_changes(excluded_fields=sorted({*RECORDED_COLUMNS, "started_by", "start_key"}))

    class Meta:
        """The order in lists: newest first."""

        ordering = ["-created_at", "-pk"]
        indexes = [models.Index(fields=["started_by", "created_at"], name="metrics_stream_runs_of_token")]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; RECORDED_COLUMNS only if `update_fields` names them, since other processes write them."""
        if not self._state.adding and kwargs.get("update_fields") is None and not kwargs.get("force_insert"):
            columns = {field.name for field in self._meta.concrete_fields if not field.primary_key}
            kwargs["update_fields"] = columns - self.RECORDED_COLUMNS
        super().save(*args, **kwargs)
        written = kwargs.get("update_fields")
        if written is None or "sources" in written:
            self._save_sources()

    def _save_sources(self) -> None:
        own, known = set(self.sources), set(RunSource.objects.filter(run=self).values_list("name", flat=True))
        if gone := known - own:
            RunSource.objects.filter(run=self, name__in=gone).delete()
        new = [RunSource(run=self, name=name) for name in sorted(own - known)]
        RunSource.objects.bulk_create(new, ignore_conflicts=True)


class RunSource(models.Model):
    """One of the sources of a run, in a row of its own: databases compare lists in different ways, but all find rows.

    TestRun keeps them in step with its column `sources`.
    """

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="+", db_index=False)
    name = models.CharField(max_length=200)

    class Meta:
        """Each source of a run is stored once."""

        constraints = [models.UniqueConstraint(fields=["run", "name"], name="metrics_stream_run_source")]

    def __str__(self) -> str:
        return self.name


class RecorderState(models.Model):
    """Which process records, and how far; it has one row, so that two processes never record at once."""

    # The only row's primary key.
    ROW = 1

    holder = models.CharField(max_length=200, blank=True)
    renewed_at = models.DateTimeField(null=True, blank=True)
    position = models.JSONField(null=True, blank=True)

    class Meta:
        """The name in messages."""

        verbose_name_plural = "recorder state"

    def __str__(self) -> str:
        return self.holder or "nobody"


class MetricChunk(models.Model):
    """Some hundred metrics of a run in publishing order, complete and compressed.

    `first_number` is the number of metrics of the run before it. `first_at` and `last_at` are the times, in seconds
    since 1970, at which the history took the first and the last. `keys` are hashes of the metrics' keys, to find the
    newest of each key without unpacking. `counts` has the number of metrics by type and source; it is None in chunks
    of earlier versions. The last chunk of a run is open: it still grows.
    """

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="metric_chunks", db_index=False)
    first_number = models.PositiveBigIntegerField()
    count = models.PositiveIntegerField()
    first_at = models.FloatField()
    last_at = models.FloatField()
    keys = models.BinaryField()
    counts = models.JSONField(null=True)
    payload = models.BinaryField()

    class Meta:
        """Chunks are unique by number, and can be found by time."""

        ordering = ["first_number"]
        constraints = [models.UniqueConstraint(fields=["run", "first_number"], name="metrics_stream_metric_chunk")]
        indexes = [models.Index(fields=["run", "last_at"], name="metrics_stream_chunk_time")]

    def __str__(self) -> str:
        return f"{self.count} metrics from {self.first_number}"


class SeriesGroup(models.Model):
    """The series of one metric type, source and row (empty: none) in a run."""

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="series_groups", db_index=False)
    metric_type = models.CharField(max_length=40)
    source = models.CharField(max_length=200)
    row = models.CharField(max_length=MAX_ROW_BYTES, blank=True)
    fields = models.JSONField(default=list)
    # What the producer stated last: the unit of a field, and the seconds over which its values were measured.
    units = models.JSONField(default=dict)
    windows = models.JSONField(default=dict)

    class Meta:
        """Each key has one group."""

        ordering = ["metric_type", "source", "row"]
        constraints = [
            models.UniqueConstraint(fields=["run", "metric_type", "source", "row"], name="metrics_stream_series_group")
        ]

    def __str__(self) -> str:
        return " · ".join(filter(None, (self.metric_type, self.source, label_row(self.row))))

    def annotate(self, stated: Mapping[str, Annotation]) -> bool:
        """Note what was stated about the fields of the group; return whether that is new."""
        is_changed = False
        for field in self.fields:
            for known, value in zip((self.units, self.windows), stated_for(stated, field), strict=True):
                if value is not None and known.get(field) != value:
                    known[field] = value
                    is_changed = True
        return is_changed


class TierChunk(models.Model):
    """Buckets of one series group: columns of count, min, max, sum and last for each field.

    `starts_at` is in seconds since 1970. Only chunks of the finest tier can be open: they may grow, and the coarser
    tiers do not contain them yet.
    """

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="tier_chunks")
    group = models.ForeignKey(SeriesGroup, on_delete=models.DO_NOTHING, related_name="tier_chunks", db_index=False)
    bucket_seconds = models.PositiveSmallIntegerField()
    starts_at = models.BigIntegerField()
    is_open = models.BooleanField(default=False)
    payload = models.BinaryField()

    class Meta:
        """Chunks are unique by start; an index finds the open ones."""

        constraints = [
            models.UniqueConstraint(fields=["group", "bucket_seconds", "starts_at"], name="metrics_stream_tier_chunk")
        ]
        indexes = [
            models.Index(fields=["run"], condition=models.Q(is_open=True), name="metrics_stream_open_tier"),
        ]

    def __str__(self) -> str:
        return f"{self.bucket_seconds} s from {self.starts_at}"
