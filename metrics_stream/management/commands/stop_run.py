"""`manage.py stop_run`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.collectors.progress import clock_text
from metrics_stream.core.errors import RunError
from metrics_stream.models import TestRun
from metrics_stream.runs import lifecycle
from metrics_stream.runs.clock import database_now


class Command(BaseCommand):
    help = "End a test run: the named one, or the only one that is running."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", nargs="?", help="what `start_run` printed (default: the only run that is running)")
        parser.add_argument(
            "--status",
            default=lifecycle.Status.COMPLETED.value,
            help=f"how it ended: {', '.join(lifecycle.ENDED)} (default completed)",
        )

    def handle(self, slug: str | None = None, **options: Any) -> None:
        try:
            run = lifecycle.stop(choose_run(slug, lifecycle.current()), options["status"])
        except RunError as error:
            raise CommandError(str(error)) from error
        seconds = (database_now() - run.started_at).total_seconds() if run.started_at else 0
        self.stdout.write(f"{run.slug}: {run.status} after {clock_text(seconds)}")


def choose_run(slug: str | None, current: list[TestRun]) -> TestRun:
    """Return the run that a person has named, or the only one that is running; raise CommandError."""
    allowed = ", ".join(run.slug for run in current)
    if slug is None and len(current) > 1:
        raise CommandError(f"{len(current)} test runs are running; name one of them: {allowed}")
    if slug is None and not current:
        raise CommandError("no test run is running")
    for run in current:
        if slug in (None, run.slug):
            return run
    known = TestRun.objects.filter(slug=slug).first()
    if known is not None:
        raise CommandError(f"the test run {slug!r} is not running: it is {known.status}")
    raise CommandError(f"unknown test run {slug!r}; running: {allowed or 'none'}")
