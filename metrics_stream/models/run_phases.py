"""The phases of test runs, and the requests that were recorded in runs that were over when they were started."""

from __future__ import annotations

from django.db import models

from metrics_stream.core import run_values
from metrics_stream.models.runs import TestRun, delete_with_run
from metrics_stream.models.validators import validate_phase_name


class RunPhase(models.Model):
    """A named part of a run, such as `ramp` or `steady`; the phases of a run do not overlap."""

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="phases", db_index=False)
    name = models.CharField(max_length=run_values.MAX_PHASE_NAME, validators=[validate_phase_name])
    starts_at = models.DateTimeField("start")
    ends_at = models.DateTimeField("end", null=True, blank=True, help_text="Empty: it goes on.")

    class Meta:
        """The order is that of time; one phase begins at an instant."""

        ordering = ["starts_at", "pk"]
        verbose_name = "phase"
        constraints = [models.UniqueConstraint(fields=["run", "starts_at"], name="metrics_stream_run_phase")]

    def __str__(self) -> str:
        return self.name

    @property
    def value(self) -> run_values.Phase:
        """The phase without its row."""
        return run_values.Phase(self.name, self.starts_at, self.ends_at)


class RecordedRequest(models.Model):
    """A request whose metrics are in the recording of a run: repeated with its key, it is not recorded again."""

    run = models.ForeignKey(TestRun, on_delete=delete_with_run, related_name="+", db_index=False)
    key = models.CharField(max_length=32)

    class Meta:
        """Each request is recorded once."""

        constraints = [models.UniqueConstraint(fields=["run", "key"], name="metrics_stream_recorded_request")]

    def __str__(self) -> str:
        return self.key
