"""Test runs, and what was recorded of them.

Room: models. Admins edit a run's name, target, tags and notes. The rest is written by the recorder, through
`recordings`: raw metrics in publishing order (`MetricChunk`), and their numbers folded into buckets of 1, 10 and
60 s (`TierChunk`, by `SeriesGroup`). What is in a payload is `core/columns.py`'s and `core/chunks.py`'s.
"""

from __future__ import annotations

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from simple_history.models import HistoricalRecords

from metrics_stream.core.formats import runs as run_requests
from metrics_stream.models.validators import validate_finite, validate_printable, validate_terms, validate_text


def delete_with_run(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    """Delete what belongs to a run in one statement for each table (an `on_delete` of Django's).

    CASCADE would do, but for the admin, which lists every row that goes along before it asks.
    """
    collector.fast_deletes.append(sub_objs)


# Otherwise Django fetches the rows to see whether there are any.
delete_with_run.lazy_sub_objs = True  # type: ignore[attr-defined]


class TestRun(models.Model):
    """One stress test, from its start to its end; what was published meanwhile is recorded."""

    # Keeps pytest from taking it for a class of tests.
    __test__ = False

    class Status(models.TextChoices):
        """Where the run stands."""

        NOT_STARTED = "not_started", "Not started"
        RUNNING = "running", "Running"
        PAUSED = "paused", "Paused"
        COMPLETED = run_requests.COMPLETED, "Completed"
        FAILED = run_requests.FAILED, "Failed"
        CANCELLED = run_requests.CANCELLED, "Cancelled"

    # What the recorder and the running program write while people edit the run.
    RECORDED_COLUMNS = frozenset(
        {"alive_at", "first_at", "last_at", "metrics_recorded", "lost", "recorded_until", "recording_ended_at"}
    )

    slug = models.SlugField(
        max_length=150,
        unique=True,
        help_text="The address of the run's page, and what `run` is in its metrics.",
    )
    name = models.CharField(max_length=100, validators=[validate_printable])
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.NOT_STARTED, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    target_tps = models.FloatField(
        "target load",
        null=True,
        blank=True,
        validators=[validate_finite, MinValueValidator(0.0)],
        help_text="In transactions per second. Empty: none.",
    )
    tags = models.JSONField(
        default=list, blank=True, validators=[validate_terms], help_text="One a line. Runs are found by them."
    )
    notes = models.TextField(blank=True, validators=[validate_text], help_text="What was tested, and what came of it.")
    sources = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_terms],
        help_text="Host names, one a line. Only what these machines publish belongs to the run. Empty: every source.",
    )

    started_by = models.ForeignKey(
        "AccessToken",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="runs",
        verbose_name="started by token",
        help_text="The token of the program that started the run over HTTP, and may end it.",
    )
    start_key = models.CharField(
        max_length=32,
        unique=True,
        null=True,
        blank=True,
        editable=False,
        help_text="By what the request that started the run is known when it comes again.",
    )
    alive_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the program that started the run last said that it goes on. Empty: people start and stop it.",
    )
    first_at = models.DateTimeField(
        "first metric", null=True, blank=True, editable=False, help_text="The earliest timestamp that was recorded."
    )
    last_at = models.DateTimeField(
        "last metric", null=True, blank=True, editable=False, help_text="The latest timestamp that was recorded."
    )
    metrics_recorded = models.PositiveBigIntegerField(default=0, editable=False)
    lost = models.JSONField(
        default=list,
        blank=True,
        editable=False,
        help_text="What is known to be missing: objects of at, metric_type, count (null: unknown) and reason.",
    )
    recorded_until = models.JSONField(
        null=True, blank=True, editable=False, help_text="The position up to which the run is recorded."
    )
    recording_ended_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the recorder had all of it. Empty: it has still to reach the end.",
    )

    history = HistoricalRecords(excluded_fields=sorted({*RECORDED_COLUMNS, "started_by", "start_key"}))

    class Meta:
        """Order in lists: newest first."""

        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; what is in RECORDED_COLUMNS only if `update_fields` names it, since others write it meanwhile."""
        if not self._state.adding and kwargs.get("update_fields") is None and not kwargs.get("force_insert"):
            columns = {field.name for field in self._meta.concrete_fields if not field.primary_key}
            kwargs["update_fields"] = columns - self.RECORDED_COLUMNS
        super().save(*args, **kwargs)


class RecorderState(models.Model):
    """Who records, and how far: one row, so that two processes never record at once."""

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
    """Some hundred metrics of a run, one after the other as they were published, whole and compressed.

    `first_number` is how many of the run came before. `first_at` and `last_at` say, in seconds since 1970, when the
    history took the first and the last. `keys` are hashes of the metrics' keys, to find the newest of each without
    unpacking. The open chunk, the last of its run, still grows.
    """

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="metric_chunks", db_index=False)
    first_number = models.PositiveBigIntegerField()
    count = models.PositiveIntegerField()
    first_at = models.FloatField()
    last_at = models.FloatField()
    keys = models.BinaryField()
    payload = models.BinaryField()

    class Meta:
        """One chunk for each place; found by number and by time."""

        ordering = ["first_number"]
        constraints = [models.UniqueConstraint(fields=["run", "first_number"], name="metrics_stream_metric_chunk")]
        indexes = [models.Index(fields=["run", "last_at"], name="metrics_stream_chunk_time")]

    def __str__(self) -> str:
        return f"{self.count} metrics from {self.first_number}"


class SeriesGroup(models.Model):
    """The numbers that come together in a run: of one metric type, source, and agent (empty: none)."""

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="series_groups", db_index=False)
    metric_type = models.CharField(max_length=40)
    source = models.CharField(max_length=200)
    agent_id = models.CharField(max_length=200, blank=True)
    fields = models.JSONField(default=list)

    class Meta:
        """One group for each key."""

        ordering = ["metric_type", "source", "agent_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "metric_type", "source", "agent_id"], name="metrics_stream_series_group"
            )
        ]

    def __str__(self) -> str:
        return " · ".join(filter(None, (self.metric_type, self.source, self.agent_id)))


class TierChunk(models.Model):
    """The buckets of one series group for a while: columns of count, min, max, sum and last for each field.

    `starts_at` is in seconds since 1970. Only chunks of the finest tier are ever open: they may grow, and the coarser
    tiers lack what is in them.
    """

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="tier_chunks")
    group = models.ForeignKey(SeriesGroup, on_delete=models.DO_NOTHING, related_name="tier_chunks", db_index=False)
    bucket_seconds = models.PositiveSmallIntegerField()
    starts_at = models.BigIntegerField()
    is_open = models.BooleanField(default=False)
    payload = models.BinaryField()

    class Meta:
        """One chunk for each place; the open ones are found at once."""

        constraints = [
            models.UniqueConstraint(fields=["group", "bucket_seconds", "starts_at"], name="metrics_stream_tier_chunk")
        ]
        indexes = [
            models.Index(fields=["run"], condition=models.Q(is_open=True), name="metrics_stream_open_tier"),
        ]

    def __str__(self) -> str:
        return f"{self.bucket_seconds} s from {self.starts_at}"
