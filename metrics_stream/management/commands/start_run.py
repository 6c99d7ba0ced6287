"""`manage.py start_run`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.collectors.limits import number_between
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.runs import lifecycle


class Command(BaseCommand):
    help = (
        "Start a test run and print its slug. Metrics published until `stop_run` belong to it, and a running server "
        "records them."
    )
    # The scripts of stress tests call this command and should not wait for the checks of pages.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what is tested; several runs may have the same name")
        parser.add_argument(
            "--source",
            action="append",
            default=[],
            metavar="SOURCE",
            help="only metrics of this source belong to the run; may be repeated (default: every source)",
        )
        parser.add_argument(
            "--tag", action="append", default=[], metavar="TAG", help="a word by which to find the run; may be repeated"
        )
        parser.add_argument("--target-tps", help="the intended load, in transactions per second")
        parser.add_argument("--notes", default="", help="notes about the run")

    def handle(self, **options: Any) -> None:
        target = options["target_tps"]
        try:
            run = lifecycle.start(
                options["name"],
                sources=options["source"],
                tags=options["tag"],
                target_tps=None if target is None else number_between("--target-tps", target, 0.0, 1e12),
                notes=options["notes"],
            )
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(run.slug)
