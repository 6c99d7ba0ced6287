"""`manage.py mark_phase`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.core.errors import RunError
from metrics_stream.management.commands.stop_run import choose_run
from metrics_stream.runs import lifecycle, phases


class Command(BaseCommand):
    help = "Begin a phase of a test run that is running, such as steady; it ends the phase before."
    # The scripts of stress tests call this command and should not wait for the checks of pages.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="what `start_run` printed")
        parser.add_argument("name", nargs="?", help="the name of the phase (default: none, the phase before ends)")

    def handle(self, slug: str, name: str | None = None, **options: Any) -> None:
        try:
            found = phases.mark(choose_run(slug, lifecycle.current()), name)
        except RunError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(", ".join(phase.name for phase in found))
